"""Published numbers of the synthetic electrocardiogram, and the waves and sinus rhythm made of them.

The equations are in `monitor.demo.ecg`.

Rules of this file: every number names its source; what no source gives is marked "our choice, because". No number
was chosen by looking at a detector's output.

Sources, by the short names used below ("abstract" where only that was read):
    McSharry 2003: P. E. McSharry, G. D. Clifford, L. Tarassenko, L. A. Smith, "A dynamical model for generating
        synthetic electrocardiogram signals", IEEE Trans. Biomed. Eng. 50(3):289-294.
    ECGSYN: the authors' program of that paper, PhysioNet ecgsyn 1.0.0, `ecgsyn.m` and `derivsecgsyn.m`.
    Clifford 2010: G. D. Clifford, S. Nemati, R. Sameni, "An artificial vector model for generating abnormal
        electrocardiographic rhythms", Physiol. Meas. 31:595-609 (abstract; equations as in its authors' program,
        `vcg_gen_abnormal.m` of OSET, commit fff7f32, which ships parameters for T wave alternans only).
    fecgsyn: J. Behar et al., Physiol. Meas. 35:1537-1550 (2014); toolbox 1.2, commit e5f5d6b, file
        `data/vcg_sets/EctopicBeatGaussians.mat`.
    Del Carpio Munoz 2011: F. Del Carpio Munoz et al., J. Cardiovasc. Electrophysiol. 22:791-798 (abstract).
    Park 2015: K.-M. Park et al., Korean Circ. J. 45:294-300 (abstract).
    WikiDoc: "Premature ventricular contraction electrocardiogram", revision 900200.
    Medscape: "Premature Ventricular Contraction", background (QRS > 120 ms, no P wave, T wave large and opposite).
    GPnotebook: "Compensatory pause".
    EC11: ANSI/AAMI EC11:1991/(R)2001, requirement table, system noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from monitor.detector.arrays import Float64Array

# --- The sinus beat: P, Q, R, S, T ----------------------------------------------------------------------------------
# ECGSYN defaults `ti`, `ai`, `bi`; table I of McSharry 2003 has them with -60 and 90 degrees for P and T.
SINUS_ANGLES_DEG: Final = (-70.0, -15.0, 0.0, 15.0, 100.0)
SINUS_STRENGTHS: Final = (1.2, -5.0, 30.0, -7.5, 0.75)
SINUS_WIDTHS_RAD: Final = (0.25, 0.1, 0.1, 0.1, 0.4)
# ECGSYN: with f = sqrt(heart rate / 60), widths grow by f and angles by these powers of f.
SINUS_ANGLE_POWERS: Final = (0.5, 1.0, 0.0, 1.0, 0.5)
# ECGSYN scales the signal to lie between -0.4 and 1.2 mV.
LOWEST_MV: Final = -0.4
SPAN_MV: Final = 1.6

# --- Rhythm and baseline --------------------------------------------------------------------------------------------
# ECGSYN: centre and standard deviation of the two spectral peaks, Mayer waves (LF) and breathing (HF).
LF_HZ: Final = 0.1
HF_HZ: Final = 0.25
PEAK_STD_HZ: Final = 0.01
# ECGSYN defaults `hrstd` and `lfhfratio`.
HEART_RATE_STD_BPM: Final = 1.0
LF_HF_RATIO: Final = 0.5
# ECGSYN `zbase`, in the units of z: z0 = 0.005 sin(2 pi 0.25 t). Its phase at the start is drawn from the seed.
BASELINE: Final = 0.005
# EC11 allows a recorder 30 microvolt peak to peak of its own noise; ECGSYN's noise is uniform, so is ours.
NOISE_PEAK_TO_PEAK_MV: Final = 0.03

# Straight lines between four points a second keep 97 % of the variance of the fastest component, 0.25 Hz; and it
# takes this many seconds of them to resolve spectral peaks that are 0.01 Hz wide.
_TACHOGRAM_HZ: Final = 4.0
_TACHOGRAM_S: Final = 256.0

# --- The ventricular premature beat ---------------------------------------------------------------------------------
# Seven Gaussians fitted to an ectopic beat: fecgsyn, variable `OptimumParametersI35`, elements 1-21, which are the x
# axis in the order height, width, angle (`load_gparam.m`, ectopic case 4, switched off there in favour of a set
# its comment calls ad hoc, which still has a P wave). Rounded to five digits; the first angle, 11.541, is given
# modulo 2 pi. The file does not say which recording was fitted; the name suggests I35 of the St Petersburg INCART
# database, which is our inference. Of the nine fits in the file (three beats, three axes) this is the one with the
# textbook shape that Medscape and WikiDoc describe: no P wave, one wide deflection, ST segment and T wave opposite.
ECTOPIC_ANGLES_RAD: Final = (-1.0254, -1.0156, -0.88282, -0.42004, -0.18939, -2.6147, 0.63388)
ECTOPIC_HEIGHTS: Final = (3.7876, 8.3359, 6.9654, -2.8977, -1.3615, -0.42781, -4.1102)
ECTOPIC_WIDTHS_RAD: Final = (0.17376, 0.43366, 0.097773, 0.28653, 1.0797, 0.54076, 0.34818)
# Read off that sum of Gaussians (the unit test recomputes them): where it peaks; the QRS complex, from 5 % of the
# peak before it to 5 % after it, which at 1.2 mV is 0.06 mV, about the width of the pen on paper; where the T wave is
# back to 1 %; where the foot of the QRS complex is, at 2 %; and highest minus lowest value.
ECTOPIC_PEAK_RAD: Final = -0.9123
ECTOPIC_FOOT_RAD: Final = -1.9343
ECTOPIC_ONSET_RAD: Final = -1.8381
ECTOPIC_J_POINT_RAD: Final = -0.5457
ECTOPIC_END_RAD: Final = 2.063
ECTOPIC_SPAN: Final = 21.203
# The fit has no time scale and no usable unit. Time: the QRS complex above lasts 145.6 ms, the mean of premature
# beats in patients with a normal ejection fraction (Del Carpio Munoz 2011: 145.6 +- 20.8 ms; Medscape: > 120 ms).
# Size: the same 1.6 mV span as a sinus beat; our choice, because the sources only say that premature beats are
# large, and so size alone does not give them away.
ECTOPIC_QRS_S: Final = 0.1456
ECTOPIC_RAD_PER_S: Final = (ECTOPIC_J_POINT_RAD - ECTOPIC_ONSET_RAD) / ECTOPIC_QRS_S
# Coupling interval over sinus cycle: 60 +- 15 % (Park 2015, patients with symptoms).
COUPLING_RATIO: Final = 0.60
# Beats of one focus differ in coupling by no more than 0.08 s (WikiDoc): uniform within half of that either way.
COUPLING_JITTER_S: Final = 0.04
# The pause is full: coupling interval + pause = two sinus cycles (GPnotebook); no number needed. The sinus P wave
# that falls into the ectopic T wave is left out; our choice, because it is hidden there more often than not.

# --- Our choices ----------------------------------------------------------------------------------------------------
# A Gaussian wave is taken to begin and end this many widths from its centre: 8 % of its height is left there.
WAVE_EXTENT: Final = 2.25
# From the end of the last sinus T wave to the foot of the premature QRS complex, at least: no R-on-T, and time for the
# phase to get there. Nothing pulls meanwhile: neither kind of beat has a wave there that it should show.
ECTOPIC_GAP_S: Final = 0.02
# Quiet time between ectopic beats; "several seconds", so that each is an event of its own.
ECTOPIC_SPACING_S: Final = 5.0
# Sinus rhythm at rest: above 100 beats a minute ECGSYN's T wave runs into the next beat, below 50 its QRS complex,
# whose angles hardly change with the rate, gets as wide as a premature one.
HEART_RATE_BPM: Final = (50.0, 100.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Waves:
    """The Gaussian waves of one kind of beat, each array of shape `(waves,)`; angles and widths in radians.

    strengths: `a` of a sinus beat; `h / b^2` of a premature one, to be multiplied by the angular speed.
    """

    angles: Float64Array
    strengths: Float64Array
    widths: Float64Array

    def pull(self, phase: Float64Array) -> Float64Array:
        """Force on z, shape and order of `phase` (radians, any number of turns), without the angular speed."""
        force = np.zeros_like(phase)
        for angle, strength, width in zip(self.angles, self.strengths, self.widths, strict=True):
            distance = (phase - angle + math.pi) % (2.0 * math.pi) - math.pi
            force -= strength * distance * np.exp(-0.5 * np.square(distance / width))
        return force


def sinus_waves(heart_rate_bpm: float) -> Waves:
    """P, Q, R, S and T of a sinus beat at this mean heart rate, scaled with it as ECGSYN does."""
    factor = math.sqrt(heart_rate_bpm / 60.0)
    powers = np.array(SINUS_ANGLE_POWERS)
    return Waves(
        angles=np.radians(SINUS_ANGLES_DEG) * factor**powers,
        strengths=np.array(SINUS_STRENGTHS),
        widths=factor * np.array(SINUS_WIDTHS_RAD),
    )


def ectopic_waves(span: float) -> Waves:
    """The premature beat's waves, its R peak turned to angle 0, `span` in units of z from trough to peak."""
    widths = np.array(ECTOPIC_WIDTHS_RAD)
    heights = np.array(ECTOPIC_HEIGHTS) * (span / ECTOPIC_SPAN)
    angles = np.array(ECTOPIC_ANGLES_RAD) - ECTOPIC_PEAK_RAD
    return Waves(angles=angles, strengths=heights / np.square(widths), widths=widths)


def sinus_times(
    rng: np.random.Generator, *, duration_s: float, rate_bpm: float, rate_std_bpm: float, lf_hf_ratio: float
) -> Float64Array:
    """Times of the sinus node's beats, seconds, shape `(beats,)`, to three beats past the duration.

    The RR interval is a signal with ECGSYN's spectrum, two Gaussian peaks of fixed power and random phase; each beat
    waits as long as that signal says at the time of the beat before.
    """
    mean_s, std_s = 60.0 / rate_bpm, 60.0 * rate_std_bpm / rate_bpm**2
    points = 2 * math.ceil(max(duration_s + 8.0 * mean_s, _TACHOGRAM_S) * _TACHOGRAM_HZ / 2.0)
    frequencies = np.fft.rfftfreq(points, 1.0 / _TACHOGRAM_HZ)
    low, high = (np.exp(-0.5 * np.square((frequencies - centre) / PEAK_STD_HZ)) for centre in (LF_HZ, HF_HZ))
    phases = rng.uniform(0.0, 2.0 * math.pi, frequencies.size)
    wave = np.fft.irfft(np.sqrt(lf_hf_ratio * low + high) * np.exp(1j * phases), points)
    intervals = mean_s + std_s * (wave - wave.mean()) / wave.std()
    at = np.arange(points) / _TACHOGRAM_HZ
    times = [0.5 * float(intervals[0])]
    while len(times) < 3 or times[-3] <= duration_s:
        times.append(times[-1] + float(np.interp(times[-1], at, intervals)))
    return np.array(times)
