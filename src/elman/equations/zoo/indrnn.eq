# Independently recurrent network
# Li, Li, Cook, Zhu and Gao 2018, Independently recurrent neural network (IndRNN), CVPR, arXiv:1803.04831
# Every unit sees only its own past.
h = relu(W @ x + u * h + b)
