// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {DomainPart} from "./DomainPart.sol";
import {IDeviceRegistry} from "./interfaces/IDeviceRegistry.sol";
import {ITrustDomain} from "./interfaces/ITrustDomain.sol";

/// @title DeviceRegistry
/// @notice The devices of a trust domain.
/// @dev Invariants:
/// I1. A device is enrolled once, by a registrar, and not without its own signature.
/// I2. Only a device's own signature changes its key document; who brings it doesn't matter.
/// I3. A signature works once, on one chain, for one contract, up to its deadline: nonces only rise, by one.
/// I4. Retired is for ever.
/// I5. Only the governor names registrars.
/// I6. A device that was ever enrolled has a key document.
contract DeviceRegistry is IDeviceRegistry, DomainPart, EIP712 {
    bytes32 internal constant ENROLLMENT_TYPE =
        keccak256("Enrollment(address device,bytes32 keyDocument,uint256 nonce,uint256 deadline)");
    bytes32 internal constant KEY_DOCUMENT_UPDATE_TYPE =
        keccak256("KeyDocumentUpdate(address device,bytes32 keyDocument,uint256 nonce,uint256 deadline)");

    mapping(address device => Device) internal _devices;
    /// @inheritdoc IDeviceRegistry
    mapping(address account => bool) public isRegistrar;

    constructor(ITrustDomain domain_, address[] memory registrars)
        DomainPart(domain_)
        EIP712("dpki DeviceRegistry", "1")
    {
        for (uint256 i = 0; i < registrars.length; ++i) {
            isRegistrar[registrars[i]] = true;
            emit RegistrarChanged(registrars[i], true);
        }
    }

    // -- registrars ------------------------------------------------------------------------------------------------

    /// @inheritdoc IDeviceRegistry
    function enroll(address device_, bytes32 keyDocument, uint256 deadline, bytes calldata signature) external {
        require(isRegistrar[msg.sender], DeviceRegistryUnauthorized(msg.sender));
        _enroll(device_, keyDocument, deadline, signature);
    }

    /// @inheritdoc IDeviceRegistry
    function enrollBatch(Request[] calldata requests) external {
        require(isRegistrar[msg.sender], DeviceRegistryUnauthorized(msg.sender));
        for (uint256 i = 0; i < requests.length; ++i) {
            Request calldata one = requests[i];
            _enroll(one.device, one.keyDocument, one.deadline, one.signature);
        }
    }

    /// @inheritdoc IDeviceRegistry
    function retire(address device_) external {
        require(isRegistrar[msg.sender], DeviceRegistryUnauthorized(msg.sender));
        Device storage retired = _active(device_);

        retired.state = State.Retired;
        emit DeviceRetired(device_, msg.sender);
    }

    // -- anyone, with the device's signature -----------------------------------------------------------------------

    /// @inheritdoc IDeviceRegistry
    function update(address device_, bytes32 keyDocument, uint256 deadline, bytes calldata signature) external {
        _update(device_, keyDocument, deadline, signature);
    }

    /// @inheritdoc IDeviceRegistry
    function updateBatch(Request[] calldata requests) external {
        for (uint256 i = 0; i < requests.length; ++i) {
            Request calldata one = requests[i];
            _update(one.device, one.keyDocument, one.deadline, one.signature);
        }
    }

    // -- the governor ----------------------------------------------------------------------------------------------

    /// @inheritdoc IDeviceRegistry
    function setRegistrar(address registrar, bool allowed) external {
        require(_isGovernor(msg.sender), DeviceRegistryUnauthorized(msg.sender));

        isRegistrar[registrar] = allowed;
        emit RegistrarChanged(registrar, allowed);
    }

    // -- views -----------------------------------------------------------------------------------------------------

    /// @inheritdoc IDeviceRegistry
    function device(address account) external view returns (Device memory) {
        return _devices[account];
    }

    // -- internal --------------------------------------------------------------------------------------------------

    /// @dev Enrols a device; the caller is a registrar.
    function _enroll(address device_, bytes32 keyDocument, uint256 deadline, bytes calldata signature) internal {
        Device storage enrolled = _devices[device_];
        require(enrolled.state == State.Unregistered, DeviceRegistryAlreadyEnrolled(device_));
        _checkSigned(ENROLLMENT_TYPE, device_, keyDocument, 0, deadline, signature);

        _devices[device_] = Device({keyDocument: keyDocument, state: State.Active, nonce: 1});
        emit DeviceEnrolled(device_, keyDocument, msg.sender);
    }

    /// @dev Replaces a device's key document; whoever calls.
    function _update(address device_, bytes32 keyDocument, uint256 deadline, bytes calldata signature) internal {
        Device storage updated = _active(device_);
        uint64 nonce = updated.nonce;
        _checkSigned(KEY_DOCUMENT_UPDATE_TYPE, device_, keyDocument, nonce, deadline, signature);

        updated.keyDocument = keyDocument;
        updated.nonce = nonce + 1;
        emit KeyDocumentUpdated(device_, keyDocument, nonce);
    }

    /// @dev The device at `account`, which has to be active.
    function _active(address account) internal view returns (Device storage active) {
        active = _devices[account];
        require(active.state == State.Active, DeviceRegistryNotActive(account, active.state));
    }

    /// @dev Reverts unless `signature` is the device's, of this message, in time, for a key document that is one.
    function _checkSigned(
        bytes32 messageType,
        address device_,
        bytes32 keyDocument,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) internal view {
        require(keyDocument != 0, DeviceRegistryZeroKeyDocument(device_));
        require(block.timestamp <= deadline, DeviceRegistryExpiredSignature(deadline));
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(messageType, device_, keyDocument, nonce, deadline)));
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecoverCalldata(digest, signature);
        require(
            problem == ECDSA.RecoverError.NoError && signer == device_, DeviceRegistryInvalidSignature(device_)
        );
    }
}
