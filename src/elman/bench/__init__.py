"""Speed on this machine: Elman's backends, torch.nn and a plain loop, side by side in one run.

work.py       what is measured, at which sizes        contenders.py  what runs against what
layers.py     layers: training and inference          models.py      whole models: training and sampling
timing.py     taking turns, medians, comparison       memory.py      what is kept for the backward pass
peak.py       the machine's fused multiply-adds       report.py      the table and the JSON; chart.py the picture
"""
