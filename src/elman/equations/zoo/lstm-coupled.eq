# LSTM, coupled input and forget gates (CIFG)
# Greff, Srivastava, Koutnik, Steunebrink and Schmidhuber 2015, LSTM: a search space odyssey, arXiv:1503.04069
f = sigmoid(Wf @ x + Uf @ h + bf)
o = sigmoid(Wo @ x + Uo @ h + bo)
g = tanh(Wg @ x + Ug @ h + bg)
c = f * c + (1 - f) * g
h = o * tanh(c)
