"""What masked objectives and maps of attention need of a transformer: patches, tokens that know their place, encoding.

signal [B, L, T] -> patchify -> patches [B, N, V] -> embed -> tokens [B, N, D] -> encode -> tokens [B, extra + N, D]
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from ssl_ecg.backbones import transformer
from ssl_ecg.backbones.base import Backbone
from ssl_ecg.views import take_tokens


class TokenBackbone(Backbone):
    """A transformer over patches of a signal; a subclass needs ``content``, ``place`` and ``encode``.

    With these three it serves every masked objective (``mae``, ``st_mem``, ``mtae``, ``mlae``, ``jepa``, ``wav2vec2``)
    and every heat map. ``attention_rollout`` sees attention that goes through
    ``torch.nn.functional.scaled_dot_product_attention`` or torch's own ``nn.MultiheadAttention``.

    Args:
        in_leads: leads L of the signal.
        width: size D of a token, and of the pooled feature vector.
        patch: samples of a patch; samples that do not fill one are left out at the end of the signal.
        samples: length T that the network is made for.
        by_lead: whether a patch is of one lead, with tokens lead after lead: N = L * (T // patch). Otherwise it is of
            all leads: N = T // patch.
        extra: tokens that ``encode`` puts in front of those of patches. Where leads have tokens of their own and these
            divide evenly among leads, they are of lead 0, of lead 1, ...; a decoder is given them.

    Attributes:
        patch: samples of a patch.
        columns: patches of a row in a signal of ``samples``: rows x columns is the grid of tokens.
        values: numbers V in a patch: L * patch, laid out as [lead, sample], or those of one lead.
        extra: tokens in front.

    Raises:
        ValueError: a patch of no sample or longer than the signal.
    """

    def __init__(
        self, in_leads: int, width: int, patch: int, samples: int, by_lead: bool = False, extra: int = 0
    ) -> None:
        super().__init__(in_leads, width)
        if not 1 <= patch <= samples:
            raise ValueError(f"patch={patch}, samples={samples}: choose a patch of at least 1 and at most all samples")
        self.patch, self.columns, self.extra = patch, samples // patch, extra
        self.by_lead, self.rows = by_lead, in_leads if by_lead else 1
        self.values = in_leads // self.rows * patch

    def content(self, patches: Tensor) -> Tensor:
        """Map patches [B, N, V] to tokens [B, N, D] that do not know their place."""
        raise NotImplementedError

    def place(self, tokens: int) -> Tensor:
        """Return what tells each of N tokens where it stands [1, N, D], for signals of any length."""
        raise NotImplementedError

    def encode(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Encode tokens, all or the visible.

        Args:
            tokens: from ``embed``, in any order [B, K, D].
            present: bool [B, K], False where no token may attend; a record may have none. None: all are present.

        Returns:
            The extra tokens, then the others [B, extra + K, D]; those that are not present are never used.
        """
        raise NotImplementedError

    def patchify(self, signal: Tensor) -> Tensor:
        """Cut signal [B, L, T] into patches [B, N, V].

        Raises:
            ValueError: another number of leads, or a signal shorter than a patch.
        """
        self.check(signal)
        patches = transformer.patchify(signal, self.patch)
        return rearrange(patches, "b p (r v) -> b (r p) v", r=self.rows)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Undo ``patchify``: patches [B, N, V] to a signal [B, L, T], without the samples that filled no patch."""
        patches = rearrange(patches, "b (r p) v -> b p (r v)", r=self.rows)
        return transformer.unpatchify(patches, self.in_leads)

    def embed(self, patches: Tensor, visible: Tensor | None = None) -> Tensor:
        """Map patches [B, N, V], or those at positions ``visible`` [B, K] alone, to tokens that know their place."""
        place = self.place(patches.shape[1])
        if visible is not None:
            patches = take_tokens(patches, visible)
            place = take_tokens(place.expand(len(visible), -1, -1), visible)
        return self.content(patches) + place

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to tokens [B, N, D]; none attends to those of leads [B, L] that were not recorded."""
        return self.forward_steps(signal, leads=leads)[0]

    def forward_steps(
        self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As of any backbone; no token attends to those of what was not recorded."""
        patches = self.patchify(signal)
        present = self.present(signal.shape[2], patches.shape[1], recorded, leads)
        return self.encode(self.embed(patches), present)[:, self.extra :], present

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the middles of the patches in samples [N]."""
        return ((self.patch - 1) / 2 + self.patch * torch.arange(steps // self.rows)).repeat(self.rows)
