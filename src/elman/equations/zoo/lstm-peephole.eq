# LSTM with peepholes
# Gers, Schraudolph and Schmidhuber 2002, Learning precise timing with LSTM recurrent networks, JMLR 3
# The gates i and f see the old cell, o the new one.
i = sigmoid(Wi @ x + Ui @ h + pi * c + bi)
f = sigmoid(Wf @ x + Uf @ h + pf * c + bf)
g = tanh(Wg @ x + Ug @ h + bg)
c = f * c + i * g
o = sigmoid(Wo @ x + Uo @ h + po * c + bo)
h = o * tanh(c)
