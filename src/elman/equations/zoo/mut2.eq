# MUT2 of the architecture search
# Jozefowicz, Zaremba and Sutskever 2015, An empirical exploration of recurrent network architectures, ICML
z = sigmoid(Wxz @ x + Whz @ h + bz)
r = sigmoid(x + Whr @ h + br)
h = tanh(Whh @ (r * h) + Wxh @ x + bh) * z + h * (1 - z)
