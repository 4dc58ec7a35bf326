"""A synthetic electrocardiogram with ventricular premature beats planted in it, for `telltale demo`.

The model is that of McSharry et al. 2003 (ECGSYN); the premature beat is a second set of Gaussians on the same cycle,
as in Clifford et al. 2010. `monitor.demo.ecg_parameters` holds every number and where it was published.

    x' = (1 - r) x - w(t) y        r = sqrt(x^2 + y^2)
    y' = (1 - r) y + w(t) x        theta = atan2(y, x); the R peak is at theta = 0
    z' = pull(theta) - (z - z0(t))

    sinus beat:      pull = - sum of a d exp(-d^2 / 2 b^2)               d = theta - theta_i, within [-pi, pi)
    premature beat:  pull = - sum of (h / b^2) w(t) d exp(-d^2 / 2 b^2)      before it, a moment without pull

Nobody integrates x and y here. Started on the circle r = 1 they stay on it, whatever w(t) is, and theta is the
integral of w: with w constant between knots, a piecewise linear function of time. Given theta, z is linear: a first
order low pass of pull + z0, which has an exact recursion. The unit test integrates all three equations instead and
finds the same signal. In the premature beat's form a wave's height does not depend on w, so the pause can be slow.

Rules of this file: all randomness comes from `seed`; seconds and radians are float64; only `synthesise` makes samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.demo import ecg_parameters as published
from monitor.demo.ecg_parameters import Waves
from monitor.detector.arrays import Float64Array

_TURN: Final = 2.0 * math.pi
# ECGSYN integrates at 512 Hz; we at a multiple of the output rate that is about as high.
_INTERNAL_HZ: Final = 500.0
# Block of the low pass: its inner scale runs over exp(4 s), far from the limits of float64.
_BLOCK_S: Final = 4.0
# R peaks are looked for this far around theta = 0: half a QRS complex.
_PEAK_SEARCH_S: Final = 0.04


@dataclass(frozen=True, kw_only=True, slots=True)
class Ectopic:
    """One planted premature beat, in samples.

    start: first sample of the abnormal interval, at the onset of the wide QRS complex (5 % of its height).
    stop: one past its last sample, where the P wave of the next sinus beat begins: the pause is over.
    peak: the premature beat's R peak; `start < peak < stop`, and it is one of the recording's `r_peaks`.
    """

    start: int
    stop: int
    peak: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recording:
    """What `synthesise` returns.

    signal_mv: float32, shape `(samples,)`, millivolts.
    sampling_rate_hz: samples a second.
    ectopics: in order of time; empty for a normal recording.
    r_peaks: int64, shape `(beats,)`, samples of all R peaks, sinus and premature, in order of time.
    """

    signal_mv: NDArray[np.float32]
    sampling_rate_hz: float
    ectopics: tuple[Ectopic, ...]
    r_peaks: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Premature:
    """One premature beat's times in seconds: its waves pull from `foot` to `end`, nothing from `quiet` to `foot`."""

    quiet: float
    foot: float
    onset: float
    peak: float
    end: float
    stop: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rhythm:
    """The phase of the cycle over time, as knots of a piecewise linear function; R peaks are at whole turns.

    knots_s, knots_rad: float64, shape `(knots,)`, both increasing.
    peaks_s: float64, shape `(beats,)`, R peaks, sinus and premature.
    """

    knots_s: Float64Array
    knots_rad: Float64Array
    peaks_s: Float64Array
    premature: tuple[Premature, ...]


def premature_indices(
    rng: np.random.Generator, sinus_s: Float64Array, *, duration_s: float, count: int, first_s: float
) -> tuple[int, ...]:
    """Indices of the sinus beats that a premature beat follows, increasing, drawn uniformly.

    Raises:
        ValueError: there is no room for so many.
    """
    if count == 0:
        return ()
    gap = 2 + math.ceil(published.ECTOPIC_SPACING_S / float(np.diff(sinus_s).min()))
    low = int(np.searchsorted(sinus_s, first_s))
    # The pause ends with the second sinus beat after; all of it must be on the recording.
    high = int(np.searchsorted(sinus_s, duration_s, side="right")) - 2
    room = high - low - (count - 1) * (gap - 1)
    if room < count:
        most = max(0, 1 + (high - low - 1) // gap)
        raise ValueError(
            f"ectopic_count: {count} premature beats do not fit between {first_s:g} s and {duration_s:g} s at "
            f"{published.ECTOPIC_SPACING_S:g} s apart, at most {most} do; ask for fewer, or for a longer recording"
        )
    chosen = np.sort(rng.choice(room, size=count, replace=False))
    return tuple(int(index) for index in low + chosen + (gap - 1) * np.arange(count))


def rhythm(rng: np.random.Generator, sinus_s: Float64Array, follows: tuple[int, ...], sinus: Waves) -> Rhythm:
    """The cycle's phase for these sinus beats, the beat after each index in `follows` replaced by a premature one.

    Around a premature beat the phase goes at these speeds:

        R ---- T | gap | QRS ---- T | pause | P ---- R      The two R peaks are those of sinus beats, two cycles
         sinus    quick  QRS 145.6 ms  slow    sinus        apart: the pause is a full one.
    """
    speed = published.ECTOPIC_RAD_PER_S
    rise = published.ECTOPIC_PEAK_RAD - published.ECTOPIC_FOOT_RAD
    lead = published.ECTOPIC_PEAK_RAD - published.ECTOPIC_ONSET_RAD
    tail = published.ECTOPIC_END_RAD - published.ECTOPIC_PEAK_RAD
    p_begin = float(sinus.angles[0] - published.WAVE_EXTENT * sinus.widths[0])
    t_end = float(sinus.angles[-1] + published.WAVE_EXTENT * sinus.widths[-1])
    jitter = rng.uniform(-published.COUPLING_JITTER_S, published.COUPLING_JITTER_S, len(follows))
    jitter_s = dict(zip(follows, jitter.tolist(), strict=True))
    peaks = [float(sinus_s[0])]
    knots = [(0.0, -math.pi), (peaks[0], 0.0)]
    premature: list[Premature] = []
    beat, turns = 0, 0.0
    while beat + 2 < sinus_s.size:
        here, after, second = (float(time) for time in sinus_s[beat : beat + 3])
        if beat in jitter_s:
            quiet = here + (after - here) * t_end / _TURN
            wanted = here + published.COUPLING_RATIO * (after - here) + jitter_s[beat]
            peak = max(wanted, quiet + published.ECTOPIC_GAP_S + rise / speed)
            end = 0.5 * (after + second)
            stop = second + (second - after) * p_begin / _TURN
            foot, onset = peak - rise / speed, peak - lead / speed
            premature.append(Premature(quiet=quiet, foot=foot, onset=onset, peak=peak, end=end, stop=stop))
            peaks.append(peak)
            knots += [(quiet, turns + t_end), (foot, turns + _TURN - rise)]
            turns += _TURN
            knots += [(peak + tail / speed, turns + tail), (end, turns + math.pi)]
            beat, after = beat + 1, second
        beat, turns = beat + 1, turns + _TURN
        peaks.append(after)
        knots.append((after, turns))
    times, phases = np.array(knots).T
    return Rhythm(knots_s=times, knots_rad=phases, peaks_s=np.array(peaks), premature=tuple(premature))


def integrate(
    cycle: Rhythm, sinus: Waves, ectopic: Waves, baseline: Float64Array, *, rate_hz: float, initial: float
) -> Float64Array:
    """z of the model at `baseline.size` times from 0 on, `rate_hz` a second, float64, in units of z.

    `baseline` is z0, shape `(times,)`; `initial` is z at time 0. Exact for a pull that is linear from time to time.
    """
    times = np.arange(baseline.size) / rate_hz
    phase = np.interp(times, cycle.knots_s, cycle.knots_rad)
    drive = sinus.pull(phase)
    slopes = np.diff(cycle.knots_rad) / np.diff(cycle.knots_s)
    for beat in cycle.premature:
        quiet, foot, end = np.searchsorted(times, (beat.quiet, beat.foot, beat.end))
        drive[quiet:foot], pulled = 0.0, slice(foot, end)
        segment = np.searchsorted(cycle.knots_s, times[pulled], side="right") - 1
        drive[pulled] = slopes[segment] * ectopic.pull(phase[pulled])
    return _low_pass(drive + baseline, step_s=1.0 / rate_hz, initial=initial)


def _low_pass(drive: Float64Array, *, step_s: float, initial: float) -> Float64Array:
    """Solution of z' = drive - z, shape of `drive`, for a drive that is linear within each step.

    z[n] = d z[n-1] + A drive[n-1] + B drive[n] with d = exp(-step), as a cumulative sum within blocks of seconds.
    """
    decay = math.exp(-step_s)
    new = 1.0 - (1.0 - decay) / step_s
    old = 1.0 - decay - new
    length = round(_BLOCK_S / step_s)
    inputs: Float64Array = np.zeros(math.ceil(drive.size / length) * length)
    inputs[0] = initial
    inputs[1 : drive.size] = old * drive[:-1] + new * drive[1:]
    powers = decay ** np.arange(length)
    blocks = np.cumsum(inputs.reshape(-1, length) / powers, axis=1) * powers
    for row in range(1, len(blocks)):
        blocks[row] += blocks[row - 1, -1] * decay * powers
    z: Float64Array = blocks.reshape(-1)[: drive.size]
    return z


def _settled_cycle(sinus: Waves, *, heart_rate_bpm: float, rate_hz: float) -> Float64Array:
    """z over one sinus cycle from theta = -pi on, at a steady rate and without baseline, shape `(times,)`."""
    cycle_s = 60.0 / heart_rate_bpm
    cycles = math.ceil(12.0 / cycle_s)  # exp(-12) of the start is left
    times = np.arange(math.floor(cycles * cycle_s * rate_hz)) / rate_hz
    z = _low_pass(sinus.pull(_TURN * times / cycle_s - math.pi), step_s=1.0 / rate_hz, initial=0.0)
    return z[times >= (cycles - 1) * cycle_s]


def synthesise(
    *,
    seed: int,
    duration_s: float,
    heart_rate_bpm: float,
    ectopic_count: int,
    first_ectopic_s: float,
    sampling_rate_hz: float = 125.0,
    amplitude: float = 1.0,
    heart_rate_std_bpm: float = published.HEART_RATE_STD_BPM,
    lf_hf_ratio: float = published.LF_HF_RATIO,
    noise_peak_to_peak_mv: float = published.NOISE_PEAK_TO_PEAK_MV,
) -> Recording:
    """A recording of one lead, the same for the same arguments.

    The sinus rhythm depends on `seed` but not on `ectopic_count`: with 0 it is the same patient on a good day.

    Args:
        seed: >= 0; another seed is another patient.
        duration_s: seconds, at most a day.
        heart_rate_bpm: mean sinus rate, 50 to 100 beats a minute.
        ectopic_count: premature beats to plant at random, at least 5 s of sinus rhythm apart.
        first_ectopic_s: seconds from the start that are free of them.
        sampling_rate_hz: samples a second, 50 to 2000; 125 is a common rate of bedside monitors.
        amplitude: factor on all waves; 1.0 is 1.6 mV from S to R.
        heart_rate_std_bpm: standard deviation of the sinus rate, at most a tenth of it.
        lf_hf_ratio: power of the Mayer waves over that of breathing, in the RR intervals.
        noise_peak_to_peak_mv: width of the uniform noise added to each sample.

    Raises:
        ValueError: an argument is out of range, or the premature beats do not fit.
    """
    for name, value, (least, most) in (
        ("duration_s", duration_s, (1.0, 86_400.0)),
        ("heart_rate_bpm", heart_rate_bpm, published.HEART_RATE_BPM),
        ("ectopic_count", ectopic_count, (0, 86_400)),
        ("sampling_rate_hz", sampling_rate_hz, (50.0, 2000.0)),
        ("amplitude", amplitude, (0.1, 10.0)),
        ("heart_rate_std_bpm", heart_rate_std_bpm, (0.0, heart_rate_bpm / 10.0)),
        ("lf_hf_ratio", lf_hf_ratio, (0.0, 100.0)),
        ("noise_peak_to_peak_mv", noise_peak_to_peak_mv, (0.0, 1.0)),
    ):
        if not least <= value <= most:
            raise ValueError(f"{name}: expected {least:g} to {most:g}, found {value:g}")
    rhythm_rng, ectopic_rng, noise_rng = np.random.default_rng(seed).spawn(3)
    sinus_s = published.sinus_times(
        rhythm_rng,
        duration_s=duration_s,
        rate_bpm=heart_rate_bpm,
        rate_std_bpm=heart_rate_std_bpm,
        lf_hf_ratio=lf_hf_ratio,
    )
    follows = premature_indices(
        ectopic_rng, sinus_s, duration_s=duration_s, count=ectopic_count, first_s=first_ectopic_s
    )
    sinus = published.sinus_waves(heart_rate_bpm)
    cycle = rhythm(ectopic_rng, sinus_s, follows, sinus)

    samples = int(duration_s * sampling_rate_hz)
    multiple = math.ceil(_INTERNAL_HZ / sampling_rate_hz)
    rate_hz = multiple * sampling_rate_hz
    settled = _settled_cycle(sinus, heart_rate_bpm=heart_rate_bpm, rate_hz=rate_hz)
    span = float(np.ptp(settled))
    breath = np.arange(samples * multiple) * (_TURN * published.HF_HZ / rate_hz) + noise_rng.uniform(0.0, _TURN)
    baseline = published.BASELINE * np.sin(breath)
    ectopic = published.ectopic_waves(span)
    z = integrate(cycle, sinus, ectopic, baseline, rate_hz=rate_hz, initial=float(settled[0]))[::multiple]
    clean_mv = amplitude * (published.LOWEST_MV + published.SPAN_MV / span * (z - float(settled.min())))
    noise_mv = noise_peak_to_peak_mv * (noise_rng.random(samples) - 0.5)

    reach = math.ceil(_PEAK_SEARCH_S * sampling_rate_hz)
    peaks_s = cycle.peaks_s[cycle.peaks_s * sampling_rate_hz <= samples - 1]
    centres = np.round(peaks_s * sampling_rate_hz).astype(np.int64)
    around = np.clip(centres[:, None] + np.arange(-reach, reach + 1), 0, samples - 1)
    r_peaks = around[np.arange(centres.size), np.argmax(clean_mv[around], axis=1)]
    premature_peaks = r_peaks[np.searchsorted(peaks_s, [beat.peak for beat in cycle.premature])]
    return Recording(
        signal_mv=(clean_mv + noise_mv).astype(np.float32),
        sampling_rate_hz=sampling_rate_hz,
        ectopics=tuple(
            Ectopic(
                start=math.floor(beat.onset * sampling_rate_hz),
                stop=math.ceil(beat.stop * sampling_rate_hz),
                peak=int(peak),
            )
            for beat, peak in zip(cycle.premature, premature_peaks, strict=True)
        ),
        r_peaks=r_peaks,
    )
