"""Events that ask for power are ours; ours are events of OpenADR; what each VEN sees of them."""
