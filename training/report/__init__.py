"""The report of a training run: a page for people (`render`), and a model card (`model_card`).

Rules of this package: pure; a `ReportContent` goes in, bytes come out, and files are the caller's. Plotly is imported
when a page is rendered.

    content     what a report says: plain arrays, numbers and strings
    selection   which windows there are pictures of
    words       the sentences that page and card share
    theme       colours and looks of plots
    figures     plots of numbers
    timeline    the plot of the split
    pictures    plots of windows
    markup      pieces of HTML
    sections    the parts of the page
    page        the whole of it, and what it may do
    card        the same as Markdown
"""
