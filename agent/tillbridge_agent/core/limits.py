"""Every bound of reading, unit last; what happens at each bound is said beside it."""

#: A longer row, quoted newlines included, quarantines the file: a quote mark that never ends, or no text at all.
ROW_BYTES_MAX = 1024 * 1024
#: Problems kept with their text in one evaluation; further ones are counted and the count is shown.
PROBLEMS_KEPT_MAX = 1_000
#: Text of a cell kept in a problem; longer text is cut and ends with an ellipsis.
PROBLEM_TEXT_CHARS_MAX = 200
#: Files are read in portions of this size, so memory does not grow with the file.
PORTION_BYTES = 256 * 1024
#: More digits before the decimal mark than any stock or price has; a longer number is refused.
NUMBER_INTEGER_DIGITS_MAX = 15
#: More digits after the decimal mark than any price list carries; a longer number is refused.
NUMBER_DECIMAL_DIGITS_MAX = 6
#: Columns of one row; a file with more quarantines, its separator is surely another one.
COLUMNS_MAX = 2_000
