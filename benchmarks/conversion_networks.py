"""Recurrent networks of the conversion table, small: what people hold of these comes as TorchScript or a `.pt2` archive.

Each class says with `example` what it takes: the values that `torch.export` is shown. Axis 0 is the batch, axis 1 the length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

VOCABULARY = 200


def tokens() -> Tensor:
    """INT64 [2, 12], below the vocabulary."""
    return torch.randint(0, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(1))


class LstmLanguageModel(nn.Module):
    """Zaremba, Sutskever, Vinyals 2014, "Recurrent Neural Network Regularization": two LSTM layers, the next word's logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 64)
        self.lstm = nn.LSTM(64, 96, num_layers=2, batch_first=True)
        self.decoder = nn.Linear(96, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """INT64 [batch, length] -> [batch, length, VOCABULARY]."""
        found: Tensor = self.decoder(self.lstm(self.embedding(tokens))[0])
        return found

    @staticmethod
    def example() -> Tensor:
        """Token numbers."""
        return tokens()


class BilstmTagger(nn.Module):
    """Huang, Xu, Yu 2015, "Bidirectional LSTM-CRF Models for Sequence Tagging", without the CRF: a tag's logits for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 64)
        self.lstm = nn.LSTM(64, 48, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(96, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        """INT64 [batch, length] -> [batch, length, 9]."""
        found: Tensor = self.tags(self.lstm(self.embedding(tokens))[0])
        return found

    @staticmethod
    def example() -> Tensor:
        """Token numbers."""
        return tokens()


class GruClassifier(nn.Module):
    """Cho et al. 2014 gave the gated unit; a bidirectional GRU whose last states are classified."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 64)
        self.gru = nn.GRU(64, 48, num_layers=2, bidirectional=True, batch_first=True)
        self.classes = nn.Linear(96, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        """INT64 [batch, length] -> [batch, 5]."""
        last = self.gru(self.embedding(tokens))[1]
        found: Tensor = self.classes(torch.cat([last[-2], last[-1]], dim=1))
        return found

    @staticmethod
    def example() -> Tensor:
        """Token numbers."""
        return tokens()


class Crnn(nn.Module):
    """Shi, Bai, Yao 2015, "An End-to-End Trainable Neural Network for Image-based Sequence Recognition": text of a line, CTC."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for wide, pool in ((16, (2, 2)), (32, (2, 2)), (64, (2, 1)), (64, (2, 1)), (128, (2, 1))):
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(pool, pool)]
            channels = wide
        self.convolutions = nn.Sequential(*layers)
        self.first = nn.LSTM(128, 64, bidirectional=True, batch_first=True)
        self.second = nn.LSTM(128, 64, bidirectional=True, batch_first=True)
        self.letters = nn.Linear(128, 37)

    def forward(self, line: Tensor) -> Tensor:
        """FP32 [batch, 1, 32, width] -> [batch, width / 4, 37]."""
        columns = self.convolutions(line).squeeze(2).permute(0, 2, 1)
        found: Tensor = self.letters(self.second(self.first(columns)[0])[0])
        return found

    @staticmethod
    def example() -> Tensor:
        """A line of 100 columns."""
        return torch.rand(2, 1, 32, 100, generator=torch.Generator().manual_seed(1))


class DeepSpeech2(nn.Module):
    """Amodei et al. 2015, "Deep Speech 2": convolutions over a spectrogram, bidirectional recurrent layers, letters for CTC."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 8, (11, 41), stride=(2, 2), padding=(5, 20)), nn.BatchNorm2d(8), nn.Hardtanh(0, 20),
            nn.Conv2d(8, 8, (11, 21), stride=(1, 2), padding=(5, 10)), nn.BatchNorm2d(8), nn.Hardtanh(0, 20),
        )  # fmt: skip
        self.layers = nn.ModuleList(nn.RNN(size, 64, bidirectional=True, batch_first=True) for size in (8 * 20, 64, 64))
        self.norm = nn.LayerNorm(64)
        self.letters = nn.Linear(64, 29)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """FP32 [batch, length, 80] -> [batch, length / 2, 29]."""
        values = self.convolutions(spectrogram.unsqueeze(1)).permute(0, 2, 1, 3).flatten(2)
        for layer in self.layers:
            forward, backward = layer(values)[0].chunk(2, dim=2)
            values = forward + backward
        found: Tensor = self.letters(self.norm(values))
        return found

    @staticmethod
    def example() -> Tensor:
        """Sixty-four frames."""
        return torch.rand(2, 64, 80, generator=torch.Generator().manual_seed(1))


NETWORKS: dict[str, type[nn.Module]] = {
    "lstm_language_model": LstmLanguageModel,
    "bilstm_tagger": BilstmTagger,
    "gru_classifier": GruClassifier,
    "crnn": Crnn,
    "deep_speech_2": DeepSpeech2,
}
