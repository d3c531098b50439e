# Recurrent highway network of depth 1
# Zilly, Srivastava, Koutnik and Schmidhuber 2017, Recurrent highway networks, ICML, arXiv:1607.03474
# With x at zero this is a highway network whose depth is time.
u = tanh(Wh @ x + Rh @ h + bh)
t = sigmoid(Wt @ x + Rt @ h + bt)
h = u * t + h * (1 - t)
