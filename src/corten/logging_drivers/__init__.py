"""logging_drivers"""
