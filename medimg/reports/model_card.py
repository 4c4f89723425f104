"""placeholder"""
def model_card(report, manifest): return "# card\n"
