"""`-m`: many runs as one sweep. An Optuna study is the only truth of it; a grid is a study whose trials all wait from the start.

space      what varies, in Hydra's words
command    what train.py -m calls
points     from a command line to a sweep, and to the configs of its trials
final      the winner of a sweep, to be trained again and tested
request    what was asked for, checked; the name by which it is found again
outside    what is handed to Slurm, Ray and a database, checked
study      the trials: which there are, what is next, what became of each
storage    the study's database, waited for where it can't be used
endings    of workers whose trial is not at fault
start      every trial checked, and one driver a sweep
driver     keeps workers busy until all are done
executor   where workers live
local      ... on this machine
ray_cluster    ... on a Ray cluster
slurm      ... in Slurm jobs
worker     one trial: a single run that tells the study how it does
parent     the sweep's own run in MLflow
seeds      trials that differ in their seed only, taken together
show       the live table and the last one
preview    what would run, and how long it would take
"""
