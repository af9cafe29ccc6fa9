"""Run many trainings as one sweep: `train.py -m`.

An Optuna study is the only record of a sweep's trials. A grid is a study whose trials all wait
from the start.

space      what varies, in Hydra's override syntax
command    what train.py -m calls
points     from a command line to a sweep, and to the configs of its trials
final      the winner of a sweep, to be trained again and tested
request    what was asked for, checked; the name by which it is found again
outside    checks of what is handed to Slurm, Ray and a database
study      the trials: which there are, what is next, what became of each
storage    the study's database, with retries if it can't be used
endings    of workers whose trial is not at fault
start      checks every trial, then starts one driver for the sweep
driver     keeps workers busy until all trials are done
executors  where workers run: on this machine, on a Ray cluster, in Slurm jobs
worker     one trial: a single run that reports to the study
parent     the sweep's own run in MLflow
seeds      trials that differ only in their seed, taken together
show       the live table and the last one
preview    what would run, and how long it would take
"""
