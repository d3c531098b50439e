# LSTM without input gate (NIG)
# Greff, Srivastava, Koutnik, Steunebrink and Schmidhuber 2015, LSTM: a search space odyssey, arXiv:1503.04069; Jozefowicz, Zaremba and Sutskever 2015, An empirical exploration of recurrent network architectures, ICML
f = sigmoid(Wf @ x + Uf @ h + bf)
o = sigmoid(Wo @ x + Uo @ h + bo)
g = tanh(Wg @ x + Ug @ h + bg)
c = f * c + g
h = o * tanh(c)
