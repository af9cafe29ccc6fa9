"""Start a sweep's workers on this machine, on a Ray cluster or as Slurm jobs.

base       the interface between the driver and an executor
make       creates the executor that `sweep.executor` names
local      processes on this machine, forked from one that has imported what a run needs
fork_server  the process that trials on this machine are forked from
preloaded  what that process imports and computes before it forks
preloaded_results  the same for trials that are tested
ray        actors on a Ray cluster
slurm      Slurm jobs, through submitit
"""
