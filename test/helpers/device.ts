import { Device, type DeviceOptions } from "../../src/kernels/device.ts"
import { findNodeAdapter } from "../../src/platform/node_adapter.ts"
import { DEVICE_KINDS, type DeviceKind } from "../../src/platform/platform.ts"

/** The adapter that the suite runs on: GEMLET_TEST_DEVICE, or what a user without options would get. */
export function testDeviceKind(): DeviceKind {
  const kind = process.env.GEMLET_TEST_DEVICE ?? "auto"
  if (!DEVICE_KINDS.includes(kind as DeviceKind)) {
    throw new RangeError(`GEMLET_TEST_DEVICE: is ${kind}, expected one of ${DEVICE_KINDS.join(", ")}`)
  }
  return kind as DeviceKind
}

export async function openTestDevice(options?: DeviceOptions): Promise<Device> {
  return Device.open(await findNodeAdapter(testDeviceKind()), options)
}
