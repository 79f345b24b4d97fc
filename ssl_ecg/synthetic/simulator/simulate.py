"""A batch of simulated ECGs with all that is true of them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_ecg.records import LEADS
from ssl_ecg.records.electrodes import DERIVATION
from ssl_ecg.signals import SignalSettings
from ssl_ecg.synthetic.simulator.conditions import Plan, draw_plan, labels
from ssl_ecg.synthetic.simulator.hearts import Hearts, draw_hearts
from ssl_ecg.synthetic.simulator.recording import (
    draw_fields,
    draw_noise,
    draw_response,
    draw_wiring,
    filtered,
)
from ssl_ecg.synthetic.simulator.rendering import BeatWaves, render
from ssl_ecg.synthetic.simulator.rhythms import Rhythm, draw_rhythm, uniform
from ssl_ecg.synthetic.simulator.tables import QRS, REPOLARISATION, T

AMPLITUDES = ("p", "q", "r", "s", "st", "t")
INTERVALS = ("pr", "qrs", "qt")
WAVES = ("p", "r", "t")
MARGIN = 1.0
"""Seconds before and after the record that are simulated as well, so that filters have settled."""
RESTING_INTERVAL = 60 / 72
J_POINT = 0.06
"""Seconds behind the end of QRS at which ST is measured."""


@dataclass(frozen=True)
class SimulatedEcgs:
    """B ECGs and their truth.

    Attributes:
        signal: float32 [B, L, T], millivolts.
        conditions: bool [B, C], in the order of ``CONDITIONS``.
        amplitudes: [B, L, 6], mV, of the dominant beat in the order of ``AMPLITUDES``: signed, Q and S not positive, 0
            where there is no such wave; ST is measured 60 ms behind QRS.
        intervals: [B, 3], seconds, in the order of ``INTERVALS``; NaN where there is none.
        axis: mean frontal axis of QRS [B], degrees: 0 to the left, 90 to the feet.
        heart_rate: of the ventricles [B], beats a minute.
        rr_variation: standard deviation of RR intervals over their mean [B].
        noise: root mean square of what is not the heart, in each lead [B, L], mV.
        events: seconds of P, R and T waves [B, 3, M] from the first sample, in the order of ``WAVES``; NaN for none.
    """

    signal: Tensor
    conditions: Tensor
    amplitudes: Tensor
    intervals: Tensor
    axis: Tensor
    heart_rate: Tensor
    rr_variation: Tensor
    noise: Tensor
    events: Tensor


@torch.no_grad()
def simulate(
    count: int,
    settings: SignalSettings | None = None,
    samples: int | None = None,
    conditions: Collection[str] | None = None,
    noise: bool = True,
    device: torch.device | str = "cpu",
) -> SimulatedEcgs:
    """Draw ECGs from torch's global generator, as an archive with these settings would hold them.

    The heart is a dipole of Gaussian waves (McSharry et al., IEEE Trans Biomed Eng 2003; Sameni et al., EURASIP J Adv
    Signal Process 2007) that electrodes see through Dower's coefficients (Clin Cardiol 1980). What differs between
    sites and patients, and is not to be learned, varies: place and sensitivity of electrodes, filters, noise, the
    heart's position, the shape of every wave.

    Args:
        count: of ECGs B.
        settings: leads, rate, length and filter; those of an archive by default if None.
        samples: length T, where it is not that of the settings.
        conditions: what every ECG shall show, and nothing else; None: flat frequencies, see ``AXES``.
        noise: whether electrodes pick up anything beside the heart.
        device: where they are drawn.

    Raises:
        ValueError: conditions that cannot be asked for.

    Example:
        >>> ecgs = simulate(4, conditions=["left_bundle_branch_block"])
        >>> ecgs.signal.shape, bool((ecgs.intervals[:, 1] > 0.12).all())
        (torch.Size([4, 12, 1000]), True)
    """
    settings = settings or SignalSettings()
    samples, rate = samples or settings.samples, settings.sampling_rate
    margin = round(MARGIN * rate)
    length, start = samples + 2 * margin, margin / rate
    plan = draw_plan(count, device, conditions)
    device = plan.age.device

    rhythm = draw_rhythm(plan, samples / rate)
    fields = draw_fields(count, device)
    hearts = draw_hearts(plan, rhythm.escape, fields[0])
    wiring = draw_wiring(plan)
    rows = torch.tensor(DERIVATION[[LEADS.index(lead) for lead in settings.leads]], dtype=torch.float32, device=device)
    # Leads of a dipole in the ventricles and one in the atria: [B, L, 3] each.
    ventricular, atrial = (rows @ field.gather(1, wiring[..., None].expand(-1, -1, 3)) for field in fields)
    mean_interval = 60 / rhythm.heart_rate
    qt = hearts.repolarisation * (mean_interval / RESTING_INTERVAL).clamp(0.35, 2.0) ** (1 / 3)
    ventricles, onset = _dominant(hearts, qt)

    dipole = torch.zeros(6, count, length, device=device)
    _add_beats(dipole[:3], plan, hearts, rhythm, qt, onset, start, rate)
    _add_atria(dipole[3:], plan, hearts, rhythm, start, rate, length)
    response = draw_response(count, length, settings, device)
    heart = torch.cat([ventricular, atrial], 2) @ filtered(dipole.transpose(0, 1), response)
    signal = heart[..., margin : margin + samples]
    disturbance = torch.zeros_like(signal)
    if noise:
        electrodes = draw_noise(count, length, rate, response)[..., margin : margin + samples]
        disturbance = rows @ electrodes
        signal = signal + disturbance

    amplitudes, intervals = _measured(rhythm, hearts, ventricles, ventricular, atrial)
    axis = _axis(ventricles, rows=torch.tensor(DERIVATION[:6], dtype=torch.float32, device=device) @ fields[0])
    return SimulatedEcgs(
        signal=signal,
        conditions=labels(plan, axis),
        amplitudes=amplitudes,
        intervals=intervals,
        axis=axis,
        heart_rate=rhythm.heart_rate,
        rr_variation=rhythm.variation,
        noise=disturbance.square().mean(2).sqrt(),
        events=_events(hearts, rhythm, qt, onset, samples / rate),
    )


def _dominant(hearts: Hearts, qt: Tensor) -> tuple[BeatWaves, Tensor]:
    """Return the waves of the dominant beat at the record's mean rate, and the onset of QRS [B] among them."""
    factor = torch.ones_like(hearts.ventricles.centre)
    factor[:, REPOLARISATION] = qt[:, None]
    everyone = torch.arange(len(qt), device=qt.device)
    return hearts.ventricles.stretched(factor), hearts.ventricles.of(everyone, QRS).span()[0]


def _add_beats(
    dipole: Tensor, plan: Plan, hearts: Hearts, rhythm: Rhythm, qt: Tensor, onset: Tensor, start: float, rate: float
) -> None:
    """Add all beats to the dipole of the ventricles [3, B, T]; QT follows the interval before a beat a little."""
    mean_interval = 60 / rhythm.heart_rate
    breath = uniform(0.0, 0.08, len(qt), 1, device=qt.device)
    pace = uniform(0.15, 0.4, len(qt), 1, device=qt.device)
    gain = 1 + breath * torch.sin(2 * math.pi * (pace * rhythm.ventricular.clamp(max=1e3) + torch.rand_like(pace)))
    for waves, chosen in ((hearts.ventricles, ~rhythm.ectopic), (hearts.ectopic, rhythm.ectopic)):
        owner, beat = torch.nonzero(chosen & rhythm.ventricular.isfinite()).unbind(1)
        last = (rhythm.interval[owner, beat] / mean_interval[owner]).clamp(0.5, 1.5)
        stretch = (qt[owner] * (0.75 + 0.25 * last) ** (1 / 3))[:, None]
        time = rhythm.ventricular[owner, beat] + start
        if waves is hearts.ventricles:
            time = time - onset[owner]
        render(dipole, waves.of(owner, QRS), owner, time, rate, gain[owner, beat])
        render(dipole, waves.of(owner, REPOLARISATION).stretched(stretch), owner, time, rate, gain[owner, beat])
    if len(paced := torch.nonzero(plan.has("ventricular_pacing"))[:, 0]):
        _add_spikes(dipole, paced, rhythm, start, rate)


def _add_spikes(dipole: Tensor, paced: Tensor, rhythm: Rhythm, start: float, rate: float) -> None:
    """Add the pacemaker's spike before each of its beats: .5 ms of up to some millivolts, as wide as a sample here."""
    spike = torch.randn(len(paced), 3, device=dipole.device)
    wide = max(0.0005, 0.4 / rate)
    spike *= (uniform(0.5, 4.0, len(paced), 1, device=dipole.device) * 0.002 / (2.5 * wide)).clamp(max=4)
    place, beat = torch.nonzero((rhythm.ventricular.isfinite() & ~rhythm.ectopic)[paced]).unbind(1)
    owner = paced[place]
    one = torch.ones(len(owner), 1, device=dipole.device)
    waves = BeatWaves(0 * one, wide * one, wide * one, spike[place][:, None])
    render(dipole, waves, owner, rhythm.ventricular[owner, beat] + start - 0.004, rate)


def _add_atria(
    dipole: Tensor, plan: Plan, hearts: Hearts, rhythm: Rhythm, start: float, rate: float, samples: int
) -> None:
    """Add P waves, or what fluttering and fibrillating atria do, to the dipole of the atria [3, B, T]."""
    for waves, chosen in ((hearts.atria, ~rhythm.early), (hearts.early_atria, rhythm.early)):
        owner, event = torch.nonzero(chosen & rhythm.atrial.isfinite()).unbind(1)
        render(dipole, waves.of(owner, slice(None)), owner, rhythm.atrial[owner, event] + start, rate)
    clock = torch.arange(samples, device=dipole.device) / rate - start
    for name, wave in (("atrial_flutter", _flutter), ("atrial_fibrillation", _fibrillation)):
        if len(rows := torch.nonzero(plan.has(name))[:, 0]):
            dipole[:, rows] += wave(rhythm.flutter[rows, None], clock)


def _flutter(pace: Tensor, clock: Tensor) -> Tensor:
    """Return sawtooth waves [3, R, T]: slowly down and steeply up in II, III and aVF, upright in V1, .1 to .3 mV."""
    count, device = len(pace), pace.device
    phase = 2 * math.pi * (pace * clock + torch.rand(count, 1, device=device))
    skew = uniform(0.3, 0.9, count, 1, device=device)
    wave = sum(skew ** (k - 1) / k * torch.sin(k * phase) for k in range(1, 5))
    direction = torch.tensor([-0.05, 1.0, 0.45], device=device) + 0.25 * torch.randn(count, 3, device=device)
    reverse = torch.where(torch.rand(count, 1, device=device) < 0.8, 1.0, -1.0)
    height = uniform(0.06, 0.2, count, 1, device=device)
    return (direction * reverse * height).T[..., None] * wave


def _fibrillation(pace: Tensor, clock: Tensor) -> Tensor:
    """Return two wavelets [3, R, T] whose pace and height drift, fine to coarse, largest in V1 and II."""
    count, device = len(pace), pace.device
    height = torch.exp(uniform(math.log(0.02), math.log(0.18), count, 1, device=device))
    dipole = torch.zeros(3, count, len(clock), device=device)
    for direction in ((-0.25, 0.60, -0.35), (0.15, 0.45, 0.20)):
        phase = 2 * math.pi * (pace * uniform(0.85, 1.15, count, 1, device=device) * clock)
        for wobble in (0.4, 1.1, 2.3):
            turn = 2 * math.pi * torch.rand(count, 1, device=device)
            phase = phase + uniform(0.3, 0.9, count, 1, device=device) * torch.sin(2 * math.pi * wobble * clock + turn)
        swell = 2 * math.pi * (uniform(0.2, 0.7, count, 1, device=device) * clock + torch.rand(count, 1, device=device))
        wave = (1 + 0.5 * torch.sin(swell)) * (torch.sin(phase) + 0.35 * torch.sin(2 * phase + 0.3))
        dipole += torch.tensor(direction, device=device)[:, None, None] * height * wave
    return dipole


def _measured(
    rhythm: Rhythm, hearts: Hearts, ventricles: BeatWaves, ventricular: Tensor, atrial: Tensor
) -> tuple[Tensor, Tensor]:
    """Return amplitudes [B, L, 6] of the dominant beat in mV and its intervals [B, 3] in seconds."""
    device, count = ventricular.device, len(ventricular)
    everyone = torch.arange(count, device=device)
    onset, end = ventricles.of(everyone, QRS).span()
    part = torch.linspace(0, 1, 49, device=device)
    qrs = ventricular @ ventricles.at(onset[:, None] + (end - onset)[:, None] * part)  # [B, L, n]
    highest, place = qrs.clamp(min=0).max(2, keepdim=True)
    highest = highest * (highest > 0.02)
    place = torch.where(highest > 0, place, len(part))
    before = torch.arange(len(part), device=device) < place
    q = (qrs * before).amin(2).clamp(max=0)
    s = (qrs * ~before).amin(2).clamp(max=0)

    st = ventricular @ ventricles.at((end + J_POINT)[:, None])
    t_end = (ventricles.centre + 2.2 * ventricles.fall)[:, T]
    first = torch.maximum(ventricles.centre[:, T] - 1.5 * ventricles.rise[:, T], end + J_POINT)
    wave = ventricular @ ventricles.at(
        first[:, None] + (t_end - first)[:, None] * torch.linspace(0, 1, 24, device=device)
    )
    t = wave.gather(2, wave.abs().argmax(2, keepdim=True))[..., 0]
    p = atrial @ hearts.atria.at(torch.linspace(0, 0.16, 33, device=device))
    p = p.gather(2, p.abs().argmax(2, keepdim=True))[..., 0]
    p = p * (rhythm.atrial.isfinite() & ~rhythm.early).any(1)[:, None]
    amplitudes = torch.stack([p, q, highest[..., 0], s, st[..., 0], t], 2)
    return amplitudes, torch.stack([rhythm.pr, end - onset, t_end - onset], 1)


def _axis(ventricles: BeatWaves, rows: Tensor) -> Tensor:
    """Return the frontal axis of the area of QRS [B] in degrees, from leads I and aVF of six limb leads [B, 6, 3]."""
    part = BeatWaves(
        *(values[:, QRS] for values in (ventricles.centre, ventricles.rise, ventricles.fall, ventricles.vector))
    )
    area = (rows @ (part.vector * (part.rise + part.fall)[..., None]).sum(1)[..., None])[..., 0]
    return torch.rad2deg(torch.atan2(2 / math.sqrt(3) * area[:, 5], area[:, 0]))


def _events(hearts: Hearts, rhythm: Rhythm, qt: Tensor, onset: Tensor, seconds: float) -> Tensor:
    """Return when P, R and T waves peak [B, 3, M], NaN outside the record."""
    r = torch.where(rhythm.ectopic, rhythm.ventricular + 0.07, rhythm.ventricular - onset[:, None])
    t_centre = torch.where(rhythm.ectopic, hearts.ectopic.centre[:, T, None], hearts.ventricles.centre[:, T, None])
    t = torch.where(rhythm.ectopic, rhythm.ventricular, r) + t_centre * qt[:, None]
    events = torch.stack([rhythm.atrial + hearts.atria.centre.mean(1, keepdim=True), r, t], 1)
    return events.masked_fill((events < 0) | (events >= seconds), math.nan)
