"""Measure speed, always beside something else that runs in turn on the same machine.

tables        what was measured, as a table and as JSON
plain_loop    our loop beside a plain PyTorch loop of the same network
beside_keras  an epoch beside the same network in Keras, which trains in a process of its own
whole         a whole run beside the notebook's whole script in Keras
beside_sweeps a random search beside the same search with Ray Tune and with Hydra's Optuna sweeper
peers         the scripts of these processes, which need nothing of Tunebook
peer_process  starts them
arrays        hands them our images
commands      how long whole commands take, from their start on
sweeps        how long small sweeps take, and what a trial costs
memory        the peak memory of a run, of sweeps, and of a further worker
images        reading images beside torchvision's ImageFolder
profiles      where the time of a step and of the imports goes
"""
