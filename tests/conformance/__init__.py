"""The training code's own pixels. One file a preset: `version()` of the library, `make(...)` by the library itself.

Run by `scripts/preprocessing_fixtures.py` in an environment that has the library; what it gives is stored in
tests/fixtures/preprocessing and compared by tests/test_conformance.py, which needs none of them.
"""
