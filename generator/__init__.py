"""triton-repo-generator: one YAML file from a trained checkpoint to a verified Triton model repository."""

__version__ = "0.1.0"
