"""Questions about images: files of several forms become questions with their images, answers and parts.

forms.py     the files: easy-VQA, NLVR, VQA v2, tables
pictures.py  images of one or more folders and archives, found by what a file calls them
reading.py   all together: what is missing is refused or skipped, parts are divided
"""

from elman.data.questions.pictures import Lookup, open_pictures
from elman.data.questions.reading import Question, QuestionOptions, Questions, read_questions

__all__ = ["Lookup", "Question", "QuestionOptions", "Questions", "open_pictures", "read_questions"]
