# What the CMakeLists of every package with a C++ core begins with. The source is shared/cpp/core.cmake; the same
# bytes lie in packages/*/cpp/common/, `make lint` compares them.

# core_needs_compiler(<package> <C++ standard> <what runs without the core>)
# Enables C++ of that standard. Where no compiler can do it, it warns and ends the caller's CMakeLists: the package
# installs all the same, without its core.
macro(core_needs_compiler package standard instead)
  include(CheckLanguage)
  check_language(CXX)
  if(NOT CMAKE_CXX_COMPILER)
    message(WARNING "No C++ compiler that works ($CXX, c++, g++, clang++): "
      "${package} is installed without its compiled core and runs ${instead}.")
    return()
  endif()
  enable_language(CXX)
  if(NOT "cxx_std_${standard}" IN_LIST CMAKE_CXX_COMPILE_FEATURES)
    message(WARNING "${CMAKE_CXX_COMPILER} knows no C++${standard}: "
      "${package} is installed without its compiled core and runs ${instead}.")
    return()
  endif()
  set(CMAKE_CXX_STANDARD ${standard})
  set(CMAKE_CXX_STANDARD_REQUIRED ON)
endmacro()

# core_needs_python(<package> <what runs without the core>)
# Finds pybind11 and Python's headers; where the headers are missing it ends the caller's CMakeLists likewise.
macro(core_needs_python package instead)
  find_package(Python COMPONENTS Interpreter Development.Module QUIET)
  if(NOT Python_Development.Module_FOUND)
    message(WARNING "Python's headers are missing (for example: apt install python3-dev): "
      "${package} is installed without its compiled core and runs ${instead}.")
    return()
  endif()
  set(PYBIND11_FINDPYTHON ON)
  find_package(pybind11 CONFIG REQUIRED)
endmacro()
