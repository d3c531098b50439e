# LSTM without output gate (NOG)
# Greff, Srivastava, Koutnik, Steunebrink and Schmidhuber 2015, LSTM: a search space odyssey, arXiv:1503.04069; Jozefowicz, Zaremba and Sutskever 2015, An empirical exploration of recurrent network architectures, ICML
i = sigmoid(Wi @ x + Ui @ h + bi)
f = sigmoid(Wf @ x + Uf @ h + bf)
g = tanh(Wg @ x + Ug @ h + bg)
c = f * c + i * g
h = tanh(c)
