// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Forwarder
/// @notice The smallest contract that can hold a role: it passes on whatever it is told, and whatever comes back.
contract Forwarder {
    function forward(address target, bytes calldata data) external returns (bytes memory answer) {
        bool done;
        (done, answer) = target.call(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}
