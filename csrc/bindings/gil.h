// Releases the GIL safely during interpreter shutdown. A thread that then acquires the GIL is
// terminated by unwinding its stack. The unwinding must not pass through destructors and catch
// (...), and would free memory that workers still use. Such a thread blocks until the process
// exits.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

#if defined(__GLIBC__)
#include <cxxabi.h>
#endif

namespace waifu2x {

// Releases the GIL for the lifetime of the object.
class Unlocked {
 public:
  Unlocked() : thread_(PyEval_SaveThread()) {}
  ~Unlocked() { lock(); }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

  // Calls `call` with the GIL held; only in the thread that created the object.
  template <class Call>
  auto locked(Call call) {
    struct Locked {
      explicit Locked(Unlocked& u) : unlocked(u) { unlocked.lock(); }
      ~Locked() { unlocked.thread_ = PyEval_SaveThread(); }
      Unlocked& unlocked;
    } const locked(*this);
    return call();
  }

 private:
  void lock() {
    if (ending()) wait_for_ever();
#if defined(__GLIBC__)
    try {
      PyEval_RestoreThread(thread_);
    } catch (abi::__forced_unwind&) {
      wait_for_ever();
    }
#else
    PyEval_RestoreThread(thread_);
#endif
  }

  static bool ending() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
  }

  [[noreturn]] static void wait_for_ever() {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }

  PyThreadState* thread_;
};

}  // namespace waifu2x
