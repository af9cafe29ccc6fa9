"""Run many trainings as one sweep: `train.py -m`.

An Optuna study is the only record of a sweep's trials. A grid is a study in which all trials are
enqueued at the start.

space      the search space, in Hydra's override syntax
command    the function that train.py -m calls
points     turns a command line into a sweep and into the configs of its trials
plan       the interface of what chooses trials in batches, by the results of earlier ones
changes    lists how a winner differs from the defaults
auto       the plan of sweep=auto: a search within a budget, then seeds for the finalists
auto_request      turns the settings of sweep=auto into its plan, and reads the sweep it continues
ablation   the plan of sweep=ablation: a path from the defaults to a winner
ablation_request  turns the command line of sweep=ablation into its request
ablation_images   checks that an ablation trains on the images that the winner was trained on
ablation_result   turns the finished trials of an ablation into its report
final      finds the winner of a sweep, to be trained again and tested
request    the checked request for a sweep, and the name by which it is found again
outside    checks what is passed to Slurm, Ray and a database
study      the trials: their states, their results, and which one is next
storage    the study's database, with retries if it can't be used
endings    handles workers that end through no fault of their trial
start      checks every trial, then starts one driver for the sweep
driver     keeps workers busy until all trials are done
executors  where workers run: on this machine, on a Ray cluster, in Slurm jobs
worker     one trial: a single run that reports to the study
parent     the sweep's parent run in MLflow
seeds      groups trials that differ only in their seed
show       the live table and the final one
preview    shows what would run, and how long it would take
"""
