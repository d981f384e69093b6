__device__ float f(float4 x);
