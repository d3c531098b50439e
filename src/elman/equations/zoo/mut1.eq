# MUT1 of the architecture search
# Jozefowicz, Zaremba and Sutskever 2015, An empirical exploration of recurrent network architectures, ICML
z = sigmoid(Wxz @ x + bz)
r = sigmoid(Wxr @ x + Whr @ h + br)
h = tanh(Whh @ (r * h) + tanh(x) + bh) * z + h * (1 - z)
