"""Where a sweep's workers run.

base       what the driver needs of an executor, and a worker as it sees it
make       makes the executor that `sweep.executor` names
local      processes of this machine, forked from one that has imported torch
ray        actors of a Ray cluster
slurm      Slurm jobs, through submitit
"""
