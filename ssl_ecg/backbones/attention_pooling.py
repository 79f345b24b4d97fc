"""Multi-head attention over the steps of a network, in place of their mean."""

from __future__ import annotations

from torch import Tensor, nn

LOWEST = -1e4  # of a score that does not count; finite, also in half precision


class AttentionPooling(nn.Module):
    """Weighted means of step features: every head weighs the steps by itself, for its own share of the channels.

    With ``score`` [H, D], and the D channels cut into H groups of D / H:

        w[h, n] = softmax over the steps n that count of  score[h] . x[n]
        pooled[group h] = sum_n w[h, n] x[n, group h]

    All scores start at 0: then the pooled features are the mean. Multi-head attention after a residual network is that
    of Nejedly et al. (CinC 2021), after Vaswani et al. (arXiv:1706.03762); that the query is learned and not computed
    from a step, and that channels are not mapped before they are averaged, is chosen here.

    Args:
        width: channels D of a step.
        heads: H, a divisor of D.

    Raises:
        ValueError: heads that do not divide the channels.
    """

    def __init__(self, width: int, heads: int = 1) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads={heads}: choose a divisor of the {width} features of a step")
        self.heads = heads
        self.score = nn.Linear(width, heads, bias=False)
        nn.init.zeros_(self.score.weight)

    def weights(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the weights [B, N, H] of step features [B, N, D]; 0 for those that are not ``present`` [B, N]."""
        scores = self.score(features).float()
        if present is None:
            return scores.softmax(1)
        counted = present[..., None]
        return scores.masked_fill(~counted, LOWEST).softmax(1) * counted

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool step features [B, N, D], those ``present``, bool [B, N], alone, to [B, D]; 0 where none is."""
        if present is not None:
            features = features.masked_fill(~present[..., None], 0)
        weights = self.weights(features, present).to(features.dtype)
        grouped = features.unflatten(2, (self.heads, -1))  # [B, N, H, D / H]
        return (weights[..., None] * grouped).sum(1).flatten(1)
