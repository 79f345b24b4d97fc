"""The synthetic archive: ECGs have the properties that their truth claims, and the archive holds what is drawn."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import binary_closing, label
from scipy.signal import find_peaks
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from ssl_ecg.archive import ArchiveError, ArchiveWriter, open_archive
from ssl_ecg.labels.tables import read_labels
from ssl_ecg.records.electrodes import DERIVATION
from ssl_ecg.records.record import LEADS
from ssl_ecg.signals.filters import bandpass, condition
from ssl_ecg.signals.settings import SignalSettings
from ssl_ecg.synthetic import CONDITIONS, SyntheticEcgs, draw_ecgs, synthesize
from ssl_ecg.synthetic.dipole import ATRIAL_FIELD, Waves
from ssl_ecg.synthetic.electrocardiogram import fibrillatory_waves
from ssl_ecg.synthetic.morphology import ECTOPIC
from ssl_ecg.synthetic.rhythm import bring_forward, conduct, ectopic_beats

pytestmark = pytest.mark.slow

RATE = 500
BEFORE, AFTER = 0.4, 0.5  # seconds around R


@cache
def clean(*conditions: str, records: int = 16) -> SyntheticEcgs:
    return draw_ecgs(records, seed=11, sampling_rate=RATE, visits=(1, 1), conditions=conditions, noise=False)


@cache
def cohort() -> SyntheticEcgs:
    return draw_ecgs(1200, seed=3)


def r_times(signal: np.ndarray, rate: float = RATE, least: float = 0.4) -> np.ndarray:
    """Samples at which the leads together change fastest, at ``least`` that part of the fastest in the record."""
    speed = np.abs(np.diff(signal, axis=-1)).sum(0)
    speed = np.convolve(speed, np.ones(round(0.05 * rate)), "same")
    return find_peaks(speed, height=least * np.quantile(speed, 0.99), distance=round(0.3 * rate))[0]


def mean_beat(signal: np.ndarray, rate: float = RATE) -> np.ndarray:
    """Median beat [L, n], with zero in the PR segment just before QRS."""
    before, after = round(BEFORE * rate), round(AFTER * rate)
    peaks = [r for r in r_times(signal, rate) if before <= r < signal.shape[-1] - after]
    return np.median([signal[:, r - before : r + after] for r in peaks], axis=0)


def at(beat: np.ndarray, lead: str, start: float, stop: float) -> np.ndarray:
    """Samples of one lead between two times in seconds from R."""
    return beat[LEADS.index(lead), round((BEFORE + start) * RATE) : round((BEFORE + stop) * RATE)]


def qrs_width(beat: np.ndarray) -> float:
    """Seconds around the fastest moment during which the leads together are fast, but for pauses below 20 ms."""
    speed = np.linalg.norm(np.gradient(beat, axis=1), axis=0)
    fast = binary_closing(speed > 0.12 * speed.max(), np.ones(round(0.02 * RATE)))
    runs, _ = label(fast)
    return (runs == runs[speed.argmax()]).sum() / RATE


def test_limb_leads_obey_einthoven_and_goldberger_with_noise() -> None:
    lead = dict(zip(LEADS, draw_ecgs(20, seed=1, sampling_rate=RATE).signal.transpose(1, 0, 2), strict=True))
    assert lead["I"].std() > 0.05
    np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], atol=2e-6)
    np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=2e-6)
    np.testing.assert_allclose(lead["aVL"], lead["I"] - lead["II"] / 2, atol=2e-6)
    np.testing.assert_allclose(lead["aVF"], lead["II"] - lead["I"] / 2, atol=2e-6)


def test_same_seed_same_ecgs_whatever_else_is_asked() -> None:
    some, more, other = draw_ecgs(10, seed=4), draw_ecgs(30, seed=4), draw_ecgs(10, seed=5)
    np.testing.assert_array_equal(some.signal, more.signal[:10])
    assert np.abs(some.signal - other.signal).max() > 0.1

    slow, fast = (draw_ecgs(10, seed=4, sampling_rate=rate, noise=False) for rate in (100, 500))
    np.testing.assert_allclose(slow.signal, fast.signal[..., ::5], atol=5e-3)
    pd.testing.assert_frame_equal(slow.truth, fast.truth)
    pd.testing.assert_frame_equal(slow.truth, some.truth)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"records": 0}, "records must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"sampling_rate": 20}, "sampling_rate must be at least 50 Hz"),
        ({"duration": 1}, "duration must be at least 5 seconds"),
        ({"visits": (3, 2)}, r"visits must be .* got \(3, 2\)"),
        ({"conditions": ["flutter"]}, "conditions must be among sinus_rhythm, .*; got flutter"),
        (
            {"conditions": ["right_bundle_branch_block", "left_bundle_branch_block"]},
            "must not hold left_bundle_branch_block and right_bundle_branch_block together",
        ),
    ],
)
def test_impossible_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_ecgs(**arguments)


def test_every_condition_is_there_at_a_plausible_rate_with_one_rhythm_each() -> None:
    labels = cohort().truth[list(CONDITIONS)]
    assert (labels.iloc[:, :4].sum(axis=1) == 1).all()
    share = labels.mean()
    assert share["sinus_rhythm"] > 0.5
    assert share.min() > 0.012
    assert share.drop("sinus_rhythm").max() < 0.25
    assert 0.03 < (labels.sum(axis=1) >= 3).mean() < 0.25


def test_asked_conditions_are_shown_and_no_others() -> None:
    truth = clean("left_ventricular_hypertrophy", "st_elevation").truth
    shown = {name for name in CONDITIONS if truth[name].any()}
    assert shown == {"sinus_rhythm", "left_ventricular_hypertrophy", "st_elevation"}


def test_heart_rate_is_what_the_rhythm_says() -> None:
    for name, low, high in (
        ("sinus_bradycardia", 40, 60),
        ("sinus_rhythm", 60, 100),
        ("sinus_tachycardia", 100, 160),
    ):
        ecgs = clean(name)
        measured = np.array([60 * RATE / np.diff(r_times(signal)).mean() for signal in ecgs.signal])
        np.testing.assert_allclose(measured, ecgs.truth.heart_rate, rtol=0.02)
        assert ((low - 1 < measured) & (measured < high + 1)).all(), name


def test_atrial_fibrillation_is_irregular_and_has_no_p_wave() -> None:
    def variation(ecgs: SyntheticEcgs) -> np.ndarray:
        intervals = [np.diff(r_times(signal)) for signal in ecgs.signal]
        return np.array([i.std() / i.mean() for i in intervals])

    fibrillation, sinus = clean("atrial_fibrillation"), clean("sinus_rhythm")
    assert np.median(variation(fibrillation)) > 0.15
    assert np.median(variation(sinus)) < 0.06
    assert (variation(fibrillation) > variation(sinus)).mean() > 0.9

    p_wave = [np.ptp([at(mean_beat(s), "II", -0.2, -0.08) for s in e.signal], axis=1) for e in (fibrillation, sinus)]
    assert np.median(p_wave[0]) < 0.5 * np.median(p_wave[1])
    assert np.median(p_wave[1]) > 0.07
    assert fibrillation.truth.p_onset.isna().all()


def test_fibrillatory_waves_are_fast_and_largest_in_v1_and_the_inferior_leads() -> None:
    height = {lead: [] for lead in LEADS}
    for seed in range(10):
        dipole = fibrillatory_waves(6, 0.08, RATE, 10 * RATE, np.random.default_rng(seed))
        leads = DERIVATION @ ATRIAL_FIELD @ dipole
        power = np.abs(np.fft.rfft(leads[LEADS.index("V1")])) ** 2
        frequency = np.fft.rfftfreq(leads.shape[1], 1 / RATE)
        assert power[(frequency > 4) & (frequency < 9)].sum() > 0.7 * power.sum()
        for lead, signal in zip(LEADS, leads, strict=True):
            height[lead].append(signal.std())
    typical = {lead: np.median(values) for lead, values in height.items()}
    assert min(typical["V1"], typical["II"]) > 1.5 * max(typical[lead] for lead in ("I", "V4", "V5", "V6"))
    assert 0.02 < typical["V1"] < 0.1


def test_pr_interval_is_long_in_first_degree_block() -> None:
    def p_to_r(ecgs: SyntheticEcgs) -> np.ndarray:
        return np.array([BEFORE - np.argmax(at(mean_beat(s), "II", -0.34, -0.07)) / RATE - 0.06 for s in ecgs.signal])

    block, normal = (clean(name, records=24) for name in ("first_degree_av_block", "sinus_rhythm"))
    assert (block.truth.pr_interval > 0.2).all()
    assert (normal.truth.pr_interval <= 0.2).all()
    longer = np.median(p_to_r(block) - p_to_r(normal))
    assert longer == pytest.approx((block.truth.pr_interval - normal.truth.pr_interval).median(), abs=0.02)
    assert longer > 0.05


def test_second_degree_block_lengthens_pr_until_a_beat_drops() -> None:
    atrial = np.arange(24) * 0.8
    onsets, conducted = conduct(atrial, 0.16, 4, np.random.default_rng(0))
    assert (~conducted).sum() == 6
    assert (np.diff(np.flatnonzero(~conducted)) == 4).all()
    pr = np.full(24, np.nan)
    pr[conducted] = onsets - atrial[conducted]
    groups = pr[np.flatnonzero(~conducted)[0] + 1 :][:16].reshape(4, 4)[:, :3]
    assert (np.diff(groups, axis=1) > 0.02).all()
    assert np.diff(onsets).max() < 1.6  # the pause is shorter than two intervals

    truth = clean("second_degree_av_block").truth
    assert (truth.heart_rate < 0.9 * truth.sinus_rate).all()


def test_bundle_branch_blocks_widen_qrs_and_have_their_patterns() -> None:
    beats = {
        name: [mean_beat(signal) for signal in clean(name).signal]
        for name in ("sinus_rhythm", "left_bundle_branch_block", "right_bundle_branch_block")
    }
    normal, left, right = ([qrs_width(beat) for beat in group] for group in beats.values())
    assert np.median(normal) < 0.11
    assert min(np.median(left), np.median(right)) > 0.12
    assert (np.array(left) > np.array(normal)).all()
    assert (np.array(right) > np.array(normal)).all()

    for beat in beats["left_bundle_branch_block"]:
        v1 = at(beat, "V1", -0.08, 0.1)
        assert -v1.min() > 2 * v1.max()  # QS or rS
    lateral = [at(beat, "V6", -0.1, 0.1) for beat in beats["left_bundle_branch_block"]]
    assert np.mean([v6.max() > 3 * -v6.min() for v6 in lateral]) > 0.8  # a broad R without q
    t_waves = [
        at(beat, "V6", 0.2, 0.4).mean() - at(beat, "V1", 0.2, 0.4).mean() for beat in beats["left_bundle_branch_block"]
    ]
    assert np.mean(np.array(t_waves) < 0) > 0.9  # T against QRS
    for beat, usual in zip(beats["right_bundle_branch_block"], beats["sinus_rhythm"], strict=True):
        assert at(beat, "V1", 0.02, 0.1).max() > at(beat, "V1", -0.06, 0).max() > 0.1  # rSR'
        assert at(usual, "V1", 0.02, 0.1).max() < 0.1
        assert at(beat, "V6", 0.02, 0.1).min() < -0.15  # slurred S


def test_r_grows_from_v1_to_v4_and_s_shrinks_from_v2() -> None:
    beats = [mean_beat(signal) for signal in clean("sinus_rhythm").signal]
    r = np.median([[at(b, f"V{i}", -0.06, 0.06).max() for i in range(1, 7)] for b in beats], axis=0)
    s = np.median([[at(b, f"V{i}", -0.06, 0.06).min() for i in range(1, 7)] for b in beats], axis=0)
    assert (np.diff(r[:4]) > 0).all()
    assert (np.diff(s[1:]) > 0).all()
    assert r[0] < -s[0]
    assert r[4] > -3 * s[4] > 0


def test_st_is_shifted_where_it_says() -> None:
    def st(ecgs: SyntheticEcgs) -> np.ndarray:
        segment = slice(round((BEFORE + 0.08) * RATE), round((BEFORE + 0.12) * RATE))
        return np.array([mean_beat(signal)[:, segment].mean(axis=1) for signal in ecgs.signal])

    normal = st(clean("sinus_rhythm"))
    elevated, depressed = st(clean("st_elevation")) - normal, st(clean("st_depression")) - normal
    assert (np.sort(elevated, axis=1)[:, -2] > 0.1).all()  # in two leads at least
    assert (elevated.min(axis=1) < -0.02).all()  # with a mirror image opposite
    assert (depressed[:, LEADS.index("V5")] < -0.05).all()
    assert (depressed[:, LEADS.index("aVR")] > 0).all()


def test_hypertrophy_has_tall_voltages() -> None:
    def sokolow_lyon(ecgs: SyntheticEcgs) -> np.ndarray:
        beats = [mean_beat(signal) for signal in ecgs.signal]
        return np.array(
            [-at(b, "V1", -0.1, 0.1).min() + max(at(b, v, -0.1, 0.1).max() for v in ("V5", "V6")) for b in beats]
        )

    hypertrophy, normal = sokolow_lyon(clean("left_ventricular_hypertrophy")), sokolow_lyon(clean("sinus_rhythm"))
    assert (hypertrophy > 1.3 * normal).all()
    assert np.median(hypertrophy) > 3.5 > np.quantile(normal, 0.9)


def test_ectopic_beats_are_early_and_followed_by_a_compensatory_pause() -> None:
    sinus = np.arange(-2, 12, 0.8)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        ectopic = ectopic_beats(sinus, [None, 2, 3][seed % 3], 10.0, rng)
        assert (ectopic & (sinus > 0) & (sinus < 10)).any()
        assert not (ectopic[1:] & ectopic[:-1]).any()
        onsets = bring_forward(sinus, ectopic, 0.6)
        np.testing.assert_allclose(onsets[ectopic], sinus[ectopic] - 0.32)
        np.testing.assert_array_equal(onsets[~ectopic], sinus[~ectopic])


def test_ectopic_beats_are_wide_with_an_opposite_t_wave() -> None:
    beat = Waves.from_table(ECTOPIC)
    onset, end = beat.span(slice(0, 2))
    assert onset == pytest.approx(0, abs=0.01)
    assert 0.12 < end - onset < 0.18
    assert beat.vector[3] @ beat.vector[:2].sum(axis=0) < -0.9 * np.linalg.norm(beat.vector[3])

    # Around the longest pause of each record: wide complexes before it, narrow ones after.
    ecgs = clean("premature_ventricular_contraction")
    slow = []
    for signal in ecgs.signal:
        peaks = r_times(signal, least=0.25)
        speed = np.linalg.norm(np.gradient(signal, axis=1), axis=0)
        height = [speed[max(r - 40, 0) : r + 40].max() for r in peaks]
        pause = np.diff(peaks)[:-1].argmax()
        slow.append(height[pause] / height[pause + 1])
    assert np.mean(np.array(slow) < 0.8) > 0.8
    assert (ecgs.truth.rr_variation > 2 * clean("sinus_rhythm").truth.rr_variation).mean() > 0.9


def test_intervals_of_the_truth_bound_the_waves() -> None:
    ecgs = clean("sinus_rhythm")
    truth = ecgs.truth
    assert (truth.p_onset < truth.p_end).all()
    assert (truth.p_end < truth.qrs_onset + 0.02).all()
    assert (truth.qrs_end < truth.t_onset + 0.03).all()
    assert truth.eval("qrs_end - qrs_onset").between(0.06, 0.12).all()
    assert truth.eval("p_end - p_onset").between(0.07, 0.15).all()
    corrected = truth.eval("(t_end - qrs_onset) * (heart_rate / 60) ** (1 / 3)")
    assert corrected.between(0.34, 0.47).all()
    widths = np.array([qrs_width(mean_beat(signal)) for signal in ecgs.signal])
    np.testing.assert_allclose(widths, truth.qrs_end - truth.qrs_onset, atol=0.025)


def test_visits_of_a_patient_are_alike_and_patients_differ() -> None:
    ecgs = draw_ecgs(80, seed=8, visits=(2, 2), conditions=["sinus_rhythm"])
    beats = np.stack([mean_beat(bandpass(signal, 100), 100).ravel() for signal in ecgs.signal])
    distance = np.linalg.norm(beats[::2, None] - beats[None, 1::2], axis=2)
    assert (distance.argmin(axis=1) == np.arange(40)).mean() > 0.8  # chance: 0.025
    assert 0.05 < np.median(np.diag(distance)) / np.median(distance) < 0.5


def test_noise_is_that_of_a_resting_ecg() -> None:
    noisy, quiet = (draw_ecgs(100, seed=2, sampling_rate=RATE, noise=noise) for noise in (True, False))
    noise = noisy.signal - quiet.signal
    spectrum = np.abs(np.fft.rfft(noise[..., : 10 * RATE])).mean(axis=(0, 1))  # bins of 0.1 Hz
    assert spectrum[500] > 5 * np.median(spectrum[450:490])  # mains
    assert spectrum[1:7].mean() > 10 * spectrum[100:300].mean()  # wander

    wander = np.median(noise.std(axis=2))
    in_band = np.median(bandpass(noise, RATE, (5, 40)).std(axis=2))
    assert 0.02 < wander < 0.2
    assert 0.001 < in_band < 0.02
    signal_to_noise = quiet.signal.std(axis=2) / bandpass(noise, RATE).std(axis=2)
    assert np.median(signal_to_noise) > 4
    assert 0.02 < (np.abs(bandpass(noise, RATE)).max(axis=(1, 2)) > 0.3).mean() < 0.25  # electrode motion


def concordance(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    comparable = (time[:, None] < time) & (event[:, None] == 1)
    return float((comparable * ((risk[:, None] > risk) + 0.5 * (risk[:, None] == risk))).sum() / comparable.sum())


def test_atrial_factor_drives_time_to_fibrillation() -> None:
    truth = cohort().truth
    first = truth[(truth.visit == 0) & (truth.prevalent == 0)]
    assert first.time_days.between(1, 3653).all()
    assert concordance(first.time_days.to_numpy(), first.event.to_numpy(), first.log_hazard.to_numpy()) > 0.7
    expected = (np.exp(first.log_hazard) * first.time_days / 365.25).sum()  # a martingale: events minus this has mean 0
    assert first.event.sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))
    np.testing.assert_allclose(first.risk_5y, 1 - np.exp(-5 * np.exp(first.log_hazard)))
    assert np.corrcoef(first.atrial_factor, first.log_hazard)[0, 1] > 0.9

    assert 0.05 < truth.prevalent.mean() < 0.2
    assert (truth[truth.atrial_fibrillation == 1].prevalent == 1).all()
    assert (truth[truth.prevalent == 1].time_days == 0).all()
    assert 0 < truth[truth.prevalent == 1].atrial_fibrillation.mean() < 1  # some are paroxysmal


def test_ventricular_factor_drives_low_ejection_fraction() -> None:
    truth = cohort().truth
    assert ((truth.lvef <= 40) == (truth.low_lvef == 1)).all()
    assert 0.04 < truth.low_lvef.mean() < 0.2
    assert truth.low_lvef.mean() == pytest.approx(truth.low_lvef_probability.mean(), abs=0.03)
    assert roc_auc_score(truth.low_lvef, truth.low_lvef_probability) > 0.85
    assert roc_auc_score(truth.left_bundle_branch_block, truth.ventricular_factor) > 0.6


def test_both_factors_can_be_read_from_noisy_beats_but_not_easily() -> None:
    ecgs = draw_ecgs(900, seed=21, visits=(1, 1), conditions=["sinus_rhythm"])
    beats = np.stack([mean_beat(bandpass(signal, 100), 100).ravel() for signal in ecgs.signal])
    beats -= beats.mean(axis=0)
    for factor, least, most in (("atrial_factor", 0.25, 0.9), ("ventricular_factor", 0.5, 0.95)):
        value = ecgs.truth[factor].to_numpy()
        predicted = Ridge(alpha=3.0).fit(beats[:700], value[:700]).predict(beats[700:])
        assert least < np.corrcoef(predicted, value[700:])[0, 1] < most, factor


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_archive_holds_what_is_drawn_whoever_draws_it(tmp_path: Path) -> None:
    alone = synthesize(tmp_path / "one", records=300, seed=6, duration=5, visits=(1, 1), workers=1)
    together = synthesize(tmp_path / "two", records=300, seed=6, duration=5, visits=(1, 1), workers=2)
    assert files(alone) == files(together)

    archive, ecgs = open_archive(alone), draw_ecgs(300, seed=6, duration=5, visits=(1, 1))
    archive.verify()
    assert (len(archive), archive.sampling_rate, archive.samples) == (300, 100, 500)
    assert archive.manifest.record_id.tolist() == ecgs.truth.record_id.tolist()
    assert archive.settings == SignalSettings(duration=5)
    stored = np.fromfile(alone / archive.parts[0].name, "<i2").reshape(-1, 12, 500)[:20] / 1000
    wanted = np.stack([condition(signal, 100, archive.settings) for signal in ecgs.signal[:20]])
    np.testing.assert_allclose(stored, wanted, atol=0.0006)

    conditions = pd.read_csv(alone / "labels/conditions.csv")
    assert conditions.columns.tolist() == ["record_id", *CONDITIONS]
    pd.testing.assert_frame_equal(conditions[list(CONDITIONS)], ecgs.truth[list(CONDITIONS)])
    assert read_labels(alone / "labels/conditions.csv", archive).classes == CONDITIONS
    assert len(read_labels(alone / "labels/low_lvef.csv", archive, ["low_lvef"])) == 300
    survival = pd.read_csv(alone / "labels/af_survival.csv")
    assert survival.columns.tolist() == [
        "record_id",
        "patient_id",
        "time_days",
        "event",
        "prevalent",
        "log_hazard",
        "risk_5y",
    ]
    lvef = pd.read_csv(alone / "labels/low_lvef.csv")
    assert lvef.columns.tolist() == ["record_id", "lvef", "low_lvef", "low_lvef_probability"]
    truth = pd.read_parquet(alone / "truth.parquet")
    assert {"atrial_factor", "ventricular_factor", "lateral_x", "left_atrium_centre", "p_onset"} <= set(truth)


def test_settings_of_the_archive_may_differ_from_the_recorder(tmp_path: Path) -> None:
    settings = SignalSettings(leads=("II", "V1"), sampling_rate=125, band=None, normalise="none")
    archive = open_archive(synthesize(tmp_path, records=4, sampling_rate=500, workers=1, settings=settings))
    assert archive.leads == ("II", "V1")
    drawn = draw_ecgs(4, sampling_rate=500).signal[:, [1, 6]]
    assert np.corrcoef(archive.read([2]).signal[0, 0], drawn[2, 0, ::4])[0, 1] > 0.99


def test_a_killed_run_continues_and_another_seed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"records": 300, "duration": 5, "visits": (1, 1), "workers": 1}
    whole = synthesize(tmp_path / "whole", **arguments)
    write = ArchiveWriter.write_part

    def killed(self: ArchiveWriter, *part: object) -> None:
        if len(self.committed) == 1:
            raise KeyboardInterrupt
        write(self, *part)

    monkeypatch.setattr(ArchiveWriter, "write_part", killed)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "cut", **arguments)
    monkeypatch.undo()
    with pytest.raises(ArchiveError):
        open_archive(tmp_path / "cut")
    assert files(synthesize(tmp_path / "cut", **arguments)) == files(whole)
    with pytest.raises(ArchiveError, match="seed"):
        synthesize(tmp_path / "cut", **arguments, seed=1)
