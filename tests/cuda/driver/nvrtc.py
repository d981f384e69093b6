#!/usr/bin/env python3
"""Compiles all kernels with NVIDIA's own compiler as a library, NVRTC: of CUDA 12.9, say, whose nvcc no package registry has. One line for each
compute capability: kernels, the most registers, and those that spill, by name. Exit status 1 where one spills or does not compile.

    nvrtc.py LIBRARY CAPABILITY...

LIBRARY: libnvrtc.so.12 in nvidia/cuda_nvrtc/lib/ after pip install of nvidia-cuda-nvrtc-cu12. No GPU and no toolkit is needed. Launches
are compiled too, as code of the device that is never called: they are what makes the compiler emit each kernel of a template.
"""
import ctypes
import pathlib
import re
import sys
import tempfile

HEADERS = {
    "errno.h": "#define EINVAL 22\n#define EIO 5\n",
    "math.h": "#ifndef INFINITY\n#define INFINITY __int_as_float(0x7f800000)\n#define NAN __int_as_float(0x7fffffff)\n#endif\n",
    "stddef.h": "",
    "stdbool.h": "",
    "stdint.h": "".join(
        f"typedef {sign}{kind} {u}int{bits}_t;\n"
        for bits, kind in ((8, "char"), (16, "short"), (32, "int"), (64, "long"))
        for u, sign in (("", "signed "), ("u", "unsigned "))
    )
    + "typedef unsigned long uintptr_t;\n",
    "launch.h": "struct CUstream_st;\nstatic inline cudaError_t cudaLaunchKernel(const void *f, dim3, dim3, void **list, size_t, CUstream_st *)\n"
    "{ return f != nullptr && list != nullptr ? cudaSuccess : (cudaError_t)1; }\n",
}


def compiled(nvrtc, source, capability, folders):
    """The log, and whether it worked."""
    text = '#include "launch.h"\n' + source.read_text().replace("static __global__", "__global__")
    options = ["-std=c++17", f"--gpu-architecture=sm_{capability}", "--ptxas-options=-v", "-default-device", "-D__CUDACC__"]
    options = [o.encode() for o in options + [f"-I{folder}" for folder in folders]]
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), source.name.encode(), 0, None, None)
    err = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode(errors="replace"), err == 0


def kernels_of(log):
    """(name, registers, bytes of spill stores and loads) of each kernel; other functions of the device are left out."""
    for part in log.split("Compiling entry function '")[1:]:
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers = re.search(r"Used (\d+) registers", part)
        yield part.split("'", 1)[0], int(registers[1]), int(spills[1]) + int(spills[2])


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    nvrtc = ctypes.CDLL(sys.argv[1])
    tree = pathlib.Path(__file__).resolve().parents[3]
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    failed = False
    with tempfile.TemporaryDirectory() as headers:
        for name, text in HEADERS.items():
            (pathlib.Path(headers) / name).write_text("#pragma once\n" + text)
        for capability in sys.argv[2:]:
            found = []
            for source in sorted((tree / "kernels/cuda").glob("*.cu")):
                log, worked = compiled(nvrtc, source, capability, [headers, tree])
                if not worked:
                    print(f"{source.name} for {capability}: {log}", file=sys.stderr)
                    failed = True
                found += kernels_of(log)
            spilling = [name for name, _, spills in found if spills]
            failed = failed or bool(spilling) or not found
            print(f"NVRTC {major.value}.{minor.value}, sm_{capability}: {len(found)} kernels, at most {max((r for _, r, _ in found), default=0)} registers, "
                  f"{len(spilling)} spill {' '.join(spilling)}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
