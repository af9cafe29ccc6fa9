"""What runs allow to conclude, from plain values to plain sentences: no MLflow, no config, no pictures.

results       runs to compare, as plain values
learning      which runs did not learn: their objective is at chance level
leaderboard   runs that differ in their seed only as one configuration, ranked
comparable    one value a run, of the same epoch in all, so that pruning does not select
levels        a setting's values, or the thirds of its range
design        runs as a linear model: normal scores, and columns for each setting
effects       which settings matter, by how much, and where the best value lies at the end of a range
power         the smallest effect that would have been found
interactions  which settings do together what neither does alone
importance    fANOVA, with bootstrap intervals
sampling      what was tried too little to say; values under which runs fail
pairs         the leader against the next, over equal seeds; how many seeds would tell them apart
findings      all of it
sentences     findings in words
commands      what to run next, as commands
"""
