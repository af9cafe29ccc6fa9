"""Turn the results of runs, given as plain values, into statistics and sentences.

No module here uses MLflow, the config or a plotting library.

results       the runs to compare, as plain values
learning      detects runs that did not learn, whose objective is at chance level
leaderboard   groups runs that differ only in their seed into configurations, and ranks these
comparable    picks one value per run at equal epochs, so that pruning does not bias comparisons
levels        splits a setting into its values, or into the thirds of its range
response      transforms objectives to the scale on which effects add up: the logarithm of the error
design        describes runs as a linear model: transformed objectives, and columns for each setting
effects       tests which settings matter, by how much, and which are best at an end of a range
power         computes the smallest effect that a study would have detected
interactions  tests which pairs of settings have a joint effect beyond their separate effects
importance    computes each setting's share of the variance, with intervals
sampling      finds what was sampled too little to judge, and values with which runs fail
cost          computes what settings cost in time, and the best configurations for their time
optimism      estimates how far the leader is ahead by luck
isolation     finds the best configuration for each value of a setting
pairs         compares the leader with the next configurations over equal seeds
surrogate     models the objective as a function of the settings, and proposes what to run
advice        suggests what to run next, by its expected gain for its cost
ablation      tests which steps from one configuration to another make a difference
disagreement  compares two runs image by image, by McNemar's test
findings      collects the results of all the modules above
as_json       describes the findings as plain values, for findings.json
sentences     expresses the findings as sentences
caveats       warns of biases in the findings, and of runs that do not count
commands      suggests what to run next, as shell commands
"""
