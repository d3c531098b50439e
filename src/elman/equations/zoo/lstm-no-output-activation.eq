# LSTM without output activation (NOAF)
# Greff, Srivastava, Koutnik, Steunebrink and Schmidhuber 2015, LSTM: a search space odyssey, arXiv:1503.04069
i = sigmoid(Wi @ x + Ui @ h + bi)
f = sigmoid(Wf @ x + Uf @ h + bf)
o = sigmoid(Wo @ x + Uo @ h + bo)
g = tanh(Wg @ x + Ug @ h + bg)
c = f * c + i * g
h = o * c
