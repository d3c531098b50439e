# Elman network with sigmoid
# Elman 1990, Finding structure in time, Cognitive Science 14(2)
h = sigmoid(Wx @ x + Wh @ h + b)
