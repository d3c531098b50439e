# Elman network with tanh
# Elman 1990, Finding structure in time, Cognitive Science 14(2)
h = tanh(Wx @ x + Wh @ h + b)
