# Captioner's network: an image at every step
# Karpathy and Fei-Fei 2015, Deep visual-semantic alignments for generating image descriptions, CVPR, arXiv:1412.2306
# There v enters at the first step only; here, as in later courses, at every step.
# inputs: v
h = tanh(Wx @ x + Wh @ h + Wv @ v + b)
