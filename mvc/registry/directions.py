"""Directions: whether a metric is better high or low, told by the words of its name.

Public names: ``direction_of``.
"""

from __future__ import annotations

import re

_LOWER_IS_BETTER = frozenset(
    """
    bpb bpc brier cer crossentropy ece eer err error fid kid latency logloss loss lpips mae mape
    mse nll perplexity ppl regret rmse rmsle smape ter wer
    """.split()
)
_HIGHER_IS_BETTER = frozenset(
    """
    acc accuracy ap auc auprc auroc bleu chrf correlation dice em exact f1 f2 fbeta hit hits iou
    jaccard kappa map mar mcc meteor miou mrr ndcg pearson precision psnr r2 recall reward roc
    rouge score sensitivity spearman specificity ssim top1 top5
    """.split()
)


def direction_of(metric: str) -> str | None:
    """Return ``min`` or ``max`` if the words of a metric's name tell, else ``None``.

    The last telling word counts: ``val_loss`` and ``acc/error`` are ``min``,
    ``error_recall`` is ``max``.
    """
    for word in reversed(re.split(r"[^A-Za-z0-9]+", metric)):
        parts = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", word).split()
        for part in (word, *reversed(parts)):  # mIoU and chrF are words, valLoss is two
            if part.lower() in _LOWER_IS_BETTER:
                return "min"
            if part.lower() in _HIGHER_IS_BETTER:
                return "max"
    return None
