"""Report what runs in MLflow show, and what is wrong with a data set.

Both are reported in a terminal, and as a web page with pictures and a table.

requested_runs  checks the settings of compare.py, and that the sweep or experiment exists
read            reads the runs of a sweep, a filter or an experiment as plain values
sweep_record    reads what a sweep recorded about itself: its request, its errors, its winner
intervals       reads the intervals of test metrics that runs recorded
params          finds which settings vary among runs, and which all of them share
own_images      tells runs on different images of the user's own apart
paired          compares two values of one setting over runs that share all other settings
disagreement    shows the test images on which two runs disagree
table           turns the leaderboard into cells of text, with a column for each setting
terminal        prints the findings, the leaderboard and what to run next
page            writes the same as one HTML page with plots (page.html), and the leaderboard as CSV
pictures        draws the plots
compare         runs all of the above, for compare.py
ablation        reports the path of an ablation: in the terminal, as JSON and as a picture
html            fills in the templates of pages
requested_audit  checks the settings of data.py
data_page       writes the page about a data set (data_page.html), and the problems as CSV
data_audit      audits a data set, prints the findings and writes the page, for data.py
"""
