# Captioner's network: an image at every step
# Karpathy and Fei-Fei 2015, Deep visual-semantic alignments for generating image descriptions, CVPR, arXiv:1412.2306
# The paper has rectified units, and v at the first step only; here, as in later courses, tanh, and v at every step.
# inputs: v
h = tanh(Wx @ x + Wh @ h + Wv @ v + b)
