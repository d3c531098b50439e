# Quasi-recurrent network, f-pooling
# Bradbury, Merity, Xiong and Socher 2017, Quasi-recurrent neural networks, ICLR, arXiv:1611.01576
# The convolution is of width 1.
z = tanh(Wz @ x + bz)
f = sigmoid(Wf @ x + bf)
h = f * h + (1 - f) * z
