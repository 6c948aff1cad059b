"""Whether a metric is better high or low, told by its name."""

from __future__ import annotations

import pytest

from mvc.registry.directions import direction_of


@pytest.mark.parametrize(
    "metric",
    "loss val_loss valLoss LogLoss acc/error ppl perplexity mae mse RMSE nll WER cer FID"
    " eval/loss train.loss@5".split(),
)
def test_what_should_be_low(metric: str) -> None:
    """The usual words for losses and errors mean that lower is better."""
    assert direction_of(metric) == "min"


@pytest.mark.parametrize(
    "metric",
    "acc accuracy val/acc top1 AUC f1 F1 mAP mAP@0.5 map IoU mIoU val_mIoU bleu chrF valAcc"
    " error_recall".split(),
)
def test_what_should_be_high(metric: str) -> None:
    """The usual words for scores mean that higher is better, in every way to write them."""
    assert direction_of(metric) == "max"


@pytest.mark.parametrize("metric", ["", "x", "epoch", "lossy", "accent", "alpha_2", "@:/"])
def test_what_nobody_can_tell(metric: str) -> None:
    """A word that only contains a telling one tells nothing."""
    assert direction_of(metric) is None
