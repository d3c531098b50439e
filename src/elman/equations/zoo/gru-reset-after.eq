# GRU, reset after the product (cuDNN, torch)
# Appleyard, Kocisky and Blunsom 2016, Optimizing performance of recurrent neural networks on GPUs, arXiv:1604.01946
r = sigmoid(Wir @ x + bir + Whr @ h + bhr)
z = sigmoid(Wiz @ x + biz + Whz @ h + bhz)
n = tanh(Win @ x + bin + r * (Whn @ h + bhn))
h = (1 - z) * n + z * h
