"""Linear algebra and pictures on one thread while pages are digitized.

The matrices of a page are small: more threads make them no faster, and on a busy machine far slower. And sums come out
otherwise in the last digit with another number of threads, which the rounding of pixels carries on to 10 µV in a few
samples, so that the same page would not give the same signals everywhere.

OpenCV's pieces of work on a page take milliseconds: on two cores its threads cost a tenth of the processor's time, by
waiting busily for the next, and make a page no faster.
"""

from __future__ import annotations

import cv2
from threadpoolctl import threadpool_limits

__all__ = ["use_one_algebra_thread", "use_one_picture_thread"]

_pictures_settled = False


def use_one_algebra_thread() -> None:
    """Let NumPy's and SciPy's linear algebra use one thread from now on, in the whole process.

    It stays so: pages overlap in several threads, and OpenBLAS lets only the thread that set the number first change
    it. For the same reason this does nothing where the program has set another number before, in another thread. The
    networks' threads are not touched.
    """
    threadpool_limits(limits=1, user_api="blas")


def use_one_picture_thread() -> None:
    """Let OpenCV use one thread from now on, in the whole process.

    Only the first call does anything, and only where the program has not set another number than OpenCV's own: what is
    set later with ``cv2.setNumThreads`` stays.
    """
    global _pictures_settled
    if not _pictures_settled and cv2.getNumThreads() == cv2.getNumberOfCPUs():
        cv2.setNumThreads(1)
    _pictures_settled = True
