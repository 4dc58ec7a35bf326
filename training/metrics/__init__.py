"""How good scores are on labelled data: windows, series, events, archives; intervals and baselines beside them.

Rules of this package: pure numpy in float64, no I/O, no clock; chance only by an explicit seed. Higher score = more
anomalous, and anomaly is the positive class unless a metric says otherwise. No point adjustment, ever. What is chosen
by looking at the labels it is judged by is marked "oracle". What can't be computed is None.

    windows     segments with one label each: confusion, both classes' F1, AUROC, average precision, oracle F1
    series      from window scores to point scores, causal or overlap-averaged, and their metrics
    vus         volume under the surface (VUS-PR, VUS-ROC) and range AUC, with TSB-AD's parameters
    events      runs of flags against labelled events: precision, recall, delay, false alarms a day
    ucr, nab    what these two archives define
    bootstrap   percentile intervals
    baseline_scores  random, flag everything, PCA, nearest neighbours
"""
