"""From MLflow's runs to an answer that can be read: in a terminal, as a page, as pictures and as a table.

requested_runs  checks compare's settings, and that there is such a sweep or experiment
read       runs of a sweep, a filter or an experiment -> plain values
params     which settings vary among runs, and which all of them share, from MLflow's parameters and commands
paired     two values of one setting, compared over runs that share all else
terminal   leaderboard, findings and what to run next
page       the same with pictures as one HTML page (page.html), and as CSV
pictures   what is drawn
compare    all of it, for compare.py
"""
