"""Measure speed, always beside something else that runs in turn on the same machine.

tables       what was measured, as a table and as JSON
plain_loop   our loop beside a plain PyTorch loop of the same network
beside_keras an epoch beside the same network in Keras, which trains in a process of its own
keras_peer   the script of that process, which needs nothing of Tunebook
commands     how long whole commands take, from their start on
sweeps       how long small sweeps take, and what a trial costs
images       reading images beside torchvision's ImageFolder
profiles     where the time of a step and of the imports goes
"""
