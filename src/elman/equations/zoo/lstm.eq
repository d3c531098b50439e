# Long short-term memory
# Hochreiter and Schmidhuber 1997, Long short-term memory, Neural Computation 9(8); Gers, Schmidhuber and Cummins 2000, Learning to forget, Neural Computation 12(10)
i = sigmoid(Wi @ x + Ui @ h + bi)
f = sigmoid(Wf @ x + Uf @ h + bf)
o = sigmoid(Wo @ x + Uo @ h + bo)
g = tanh(Wg @ x + Ug @ h + bg)
c = f * c + i * g
h = o * tanh(c)
